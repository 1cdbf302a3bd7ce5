"""The modules a document may hold, and how each is built from its options and its tensors.

A module's channels are never written down: they follow from the shapes of its tensors, so no document can make a
module larger than the bytes it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor, nn

from ranksearch.contracts.errors import DocumentError
from ranksearch.documents.graph import ModuleSpec

__all__ = ["FORMS", "ModuleForm", "build_module"]

_MAX_STEP = 2**16


@dataclass(frozen=True, slots=True)
class ModuleForm:
    """What a kind of module is made of.

    Args:
        required: names of the tensors it must have.
        optional: names of the tensors it may have.
        options: names of the constructor arguments that a document writes down.
        build: makes the module, on the meta device, from its checked options and its tensors.
    """

    required: frozenset[str]
    optional: frozenset[str]
    options: frozenset[str]
    build: Callable[[str, ModuleSpec, Mapping[str, Tensor]], nn.Module]


def build_module(name: str, spec: ModuleSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The module ``name``, with its tensors still on the meta device.

    Args:
        name: qualified name, for messages.
        spec: kind and options as the document gives them.
        tensors: its tensors by their names inside the module; only shapes and dtypes are used.

    Raises:
        DocumentError: an unknown kind, a missing tensor, or tensors and options that do not fit each other.
    """
    form = FORMS.get(spec.kind)
    if form is None:
        _refuse(name, "is of an unknown kind", spec.kind, sorted(FORMS))
    if set(spec.options) != form.options:
        _refuse(name, "has other options than its kind", sorted(spec.options), sorted(form.options))
    if missing := form.required - set(tensors):
        mend = "pack the model again with ranksearch.pack"
        detail = f"module {name!r} lacks tensors"
        raise DocumentError("document_missing_tensor", detail, got=sorted(tensors), expected=sorted(missing), mend=mend)
    if extra := set(tensors) - form.required - form.optional:
        _refuse(name, "has tensors that its kind does not have", sorted(extra), sorted(form.required))
    for tensor_name, tensor in tensors.items():
        if tensor_name != "num_batches_tracked" and not tensor.is_floating_point():
            detail = f"tensor {name}.{tensor_name} is of a wrong dtype"
            raise DocumentError("document_wrong_dtype", detail, got=str(tensor.dtype), expected="a float dtype")
    return form.build(name, spec, tensors)


def _refuse(name: str, what: str, got: object, expected: object) -> NoReturn:
    mend = "pack the model again with ranksearch.pack"
    raise DocumentError("document_graph_invalid", f"module {name!r} {what}", got=got, expected=expected, mend=mend)


def _expect_shape(name: str, tensor: Tensor, expected: tuple[int | None, ...]) -> None:
    shape = tuple(tensor.shape)
    fits = len(shape) == len(expected) and all(e in (s, None) for s, e in zip(shape, expected, strict=True))
    if not fits or 0 in shape:
        wanted = ["≥ 1" if size is None else size for size in expected]
        detail = f"tensor {name} has a wrong shape"
        raise DocumentError("document_wrong_shape", detail, got=list(shape), expected=wanted)


def _steps(name: str, spec: ModuleSpec, option: str, dims: int, lowest: int) -> tuple[int, ...]:
    value = spec.options[option]
    good = isinstance(value, (list, tuple)) and len(value) == dims
    if not good or not all(type(item) is int and lowest <= item <= _MAX_STEP for item in value):
        _refuse(name, f"has an unusable {option}", value, f"{dims} integers from {lowest} to {_MAX_STEP}")
    return tuple(value)


def _convolution(dims: int, cls: type[nn.Module], *, transposed: bool) -> ModuleForm:
    options = {"stride", "padding", "dilation", "groups"} | ({"output_padding"} if transposed else set())

    def build(name: str, spec: ModuleSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
        weight, bias = tensors["weight"], tensors.get("bias")
        _expect_shape(f"{name}.weight", weight, (None,) * (dims + 2))
        groups = spec.options["groups"]
        first, second = weight.shape[:2]
        if type(groups) is not int or not 1 <= groups <= first or first % groups:
            _refuse(name, "has groups that do not divide its channels", groups, f"a divisor of {first}")
        channels = (first, second * groups) if transposed else (second * groups, first)
        if bias is not None:
            _expect_shape(f"{name}.bias", bias, (channels[1],))
        arguments: dict[str, Any] = {
            "kernel_size": tuple(weight.shape[2:]),
            "stride": _steps(name, spec, "stride", dims, 1),
            "dilation": _steps(name, spec, "dilation", dims, 1),
            "groups": groups,
            "bias": bias is not None,
        }
        padding = spec.options["padding"]
        named = not transposed and padding in ("same", "valid")
        arguments["padding"] = padding if named else _steps(name, spec, "padding", dims, 0)
        if padding == "same" and set(arguments["stride"]) != {1}:
            _refuse(name, "has padding 'same' with a stride", arguments["stride"], [1] * dims)
        if transposed:
            arguments["output_padding"] = _steps(name, spec, "output_padding", dims, 0)
        return cls(*channels, **arguments, device="meta", dtype=weight.dtype)

    return ModuleForm(frozenset({"weight"}), frozenset({"bias"}), frozenset(options), build)


def _build_linear(name: str, spec: ModuleSpec, tensors: Mapping[str, Tensor]) -> nn.Module:  # noqa: ARG001 - a form
    weight, bias = tensors["weight"], tensors.get("bias")
    _expect_shape(f"{name}.weight", weight, (None, None))
    if bias is not None:
        _expect_shape(f"{name}.bias", bias, (weight.shape[0],))
    outputs, inputs = weight.shape
    return nn.Linear(inputs, outputs, bias=bias is not None, device="meta", dtype=weight.dtype)


def _batch_norm(cls: type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]) -> ModuleForm:
    def build(name: str, spec: ModuleSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
        mean = tensors["running_mean"]
        _expect_shape(f"{name}.running_mean", mean, (None,))
        for tensor_name, tensor in tensors.items():
            counter = tensor_name == "num_batches_tracked"
            _expect_shape(f"{name}.{tensor_name}", tensor, () if counter else tuple(mean.shape))
        if ("weight" in tensors) != ("bias" in tensors):
            _refuse(name, "has a weight or a bias alone", sorted(tensors), "both or none")
        eps, momentum = spec.options["eps"], spec.options["momentum"]
        if type(eps) not in (int, float) or not 0 <= eps < 2**10:
            _refuse(name, "has an unusable eps", eps, "a small number ≥ 0")
        if momentum is not None and (type(momentum) not in (int, float) or not 0 <= momentum <= 1):
            _refuse(name, "has an unusable momentum", momentum, "a number from 0 to 1, or null")
        affine = "weight" in tensors
        norm = cls(mean.shape[0], eps, momentum, affine=affine, device="meta", dtype=mean.dtype)
        if "num_batches_tracked" not in tensors:
            norm.num_batches_tracked = None
        return norm

    required, optional = {"running_mean", "running_var"}, {"weight", "bias", "num_batches_tracked"}
    return ModuleForm(frozenset(required), frozenset(optional), frozenset({"eps", "momentum"}), build)


FORMS: Mapping[str, ModuleForm] = {
    "Conv1d": _convolution(1, nn.Conv1d, transposed=False),
    "Conv2d": _convolution(2, nn.Conv2d, transposed=False),
    "Conv3d": _convolution(3, nn.Conv3d, transposed=False),
    "ConvTranspose1d": _convolution(1, nn.ConvTranspose1d, transposed=True),
    "ConvTranspose2d": _convolution(2, nn.ConvTranspose2d, transposed=True),
    "ConvTranspose3d": _convolution(3, nn.ConvTranspose3d, transposed=True),
    "Linear": ModuleForm(frozenset({"weight"}), frozenset({"bias"}), frozenset(), _build_linear),
    "BatchNorm1d": _batch_norm(nn.BatchNorm1d),
    "BatchNorm2d": _batch_norm(nn.BatchNorm2d),
    "BatchNorm3d": _batch_norm(nn.BatchNorm3d),
}
"""Every kind of module a document may hold."""
