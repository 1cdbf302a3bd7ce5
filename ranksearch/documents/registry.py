"""Registry documents: an architecture that torchvision knows by name, and a plain state dict of its weights."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.tensorfile import TORCH_DTYPES, TensorFileHeader, parse_bounded_json

__all__ = ["build_architecture", "build_registered", "check_options"]

_PREFIX = "torchvision:"
_WHOLE_NUMBERS = {
    "num_classes": 100_000,
    "groups": 4096,
    "width_per_group": 4096,
}
_FRACTIONS = {"dropout": 1.0, "width_mult": 16.0, "stochastic_depth_prob": 1.0, "attention_dropout": 1.0}
_FLAGS = frozenset({"aux_logits", "aux_loss", "init_weights", "transform_input", "zero_init_residual"})
_SLOW_INITIALISATION = frozenset({"googlenet", "inception_v3"})


def build_registered(architecture: str, options: str, header: TensorFileHeader) -> nn.Module:
    """The architecture of a registry document, checked against the file's tensors before it takes memory.

    Args:
        architecture: such as ``torchvision:resnet18``.
        options: the builder's options as JSON.
        header: the file's checked header.

    Returns:
        The network with tensors of the file's shapes and dtypes, not filled yet.

    Raises:
        DocumentError: the architecture or an option is unknown, or the file's tensors are not the network's.
    """
    code = "document_header_invalid"
    parsed = parse_bounded_json(options, "the options", error=DocumentError, code=code)
    if not isinstance(parsed, dict):
        raise DocumentError(code, "the options are not an object", got=options)
    with _EmptyOnMeta():  # shapes without memory
        network = build_architecture(architecture, parsed)
    _compare(network.state_dict(), header)
    return network


class _EmptyOnMeta(TorchFunctionMode):
    """Makes ``torch.empty`` take no memory, which is how layers make their weights.

    Everything else is computed as ever: builders compute widths, and buffers that no file holds, from tensors.
    """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: Any,  # noqa: ANN401 - the same
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - the same
        given = dict(kwargs or {})
        if func is torch.empty:
            given["device"] = "meta"
        return func(*args, **given)


def build_architecture(architecture: str, options: dict[str, Any]) -> nn.Module:
    """An architecture of the registry, with random weights, in eval mode.

    Raises:
        DocumentError: ``document_unknown_architecture``, or ``document_header_invalid`` for an option.
    """
    check_options(options)
    name = architecture.removeprefix(_PREFIX)
    if not architecture.startswith(_PREFIX) or name not in _names():
        raise DocumentError(
            "document_unknown_architecture",
            "the registry has no such architecture",
            got=architecture,
            expected="torchvision: and a name of torchvision.models.list_models()",
            mend="pack the model itself with ranksearch.pack",
        )
    import torchvision  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - only registry documents need it

    builder = torchvision.models.get_model_builder(name)
    defaults: dict[str, Any] = {"init_weights": False} if name in _SLOW_INITIALISATION else {}
    if "weights_backbone" in inspect.signature(builder).parameters:
        defaults["weights_backbone"] = None  # the default would download them
    try:
        network: nn.Module = builder(weights=None, **{**defaults, **options})
    except Exception as problem:  # noqa: BLE001 - a builder may fail at an odd option in any way
        _refuse_options(f"torchvision refuses the options for {name}: {problem}", options, "options of its builder")
    return network.eval()


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that could make a builder download, allocate at will or run somebody's code.

    Raises:
        DocumentError: ``document_header_invalid``.
    """
    for name, value in options.items():
        if name in _FLAGS:
            good = isinstance(value, bool)
        elif name in _WHOLE_NUMBERS:
            good = type(value) is int and 1 <= value <= _WHOLE_NUMBERS[name]
        elif name in _FRACTIONS:
            good = type(value) in (int, float) and 0 <= value <= _FRACTIONS[name]
        else:
            _refuse_options(f"the option {name!r} is unknown", name, sorted({*_FLAGS, *_WHOLE_NUMBERS, *_FRACTIONS}))
        if not good:
            _refuse_options(f"the option {name!r} has an unusable value", value, "a value within its bounds")


def _names() -> frozenset[str]:
    try:
        import torchvision  # noqa: PLC0415 - only registry documents need it
    except ImportError as problem:
        raise DocumentError(
            "document_unknown_architecture",
            "registry documents need torchvision, which is not installed",
            mend="pip install torchvision, or pack the model itself with ranksearch.pack",
        ) from problem
    models = torchvision.models
    # Detectors take and give lists of images; quantised networks run on no common set of operators.
    others = {*models.list_models(module=models.detection), *models.list_models(module=models.quantization)}
    return frozenset(models.list_models()) - others


def _refuse_options(detail: str, got: object, expected: object) -> NoReturn:
    mend = "give only options of the architecture's builder that change its shape"
    raise DocumentError("document_header_invalid", detail, got=got, expected=expected, mend=mend)


def _compare(expected: dict[str, torch.Tensor], header: TensorFileHeader) -> None:
    mend = "give pack_state_dict the options the weights were trained with, such as num_classes"
    if missing := expected.keys() - header.tensors.keys():
        detail = "the file lacks tensors of the architecture"
        raise DocumentError("document_missing_tensor", detail, got=sorted(missing)[:5], mend=mend)
    if extra := header.tensors.keys() - expected.keys():
        detail = "the file holds tensors that the architecture does not have"
        raise DocumentError("document_graph_invalid", detail, got=sorted(extra)[:5], mend=mend)
    for name, tensor in expected.items():
        stored = header.tensors[name]
        if stored.shape != tuple(tensor.shape):
            detail, wanted = f"tensor {name!r} has a wrong shape", list(tensor.shape)
            raise DocumentError("document_wrong_shape", detail, got=list(stored.shape), expected=wanted, mend=mend)
        dtype = getattr(torch, TORCH_DTYPES[stored.dtype])
        if dtype.is_floating_point != tensor.dtype.is_floating_point:
            detail = f"tensor {name!r} is of a wrong dtype"
            raise DocumentError("document_wrong_dtype", detail, got=str(dtype), expected=str(tensor.dtype), mend=mend)
