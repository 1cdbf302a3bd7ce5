"""Convolutions, linear layers and batch normalisations: what becomes a module again, and can be factorised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ranksearch.documents.from_onnx.calls import NodeCall, Operator
from ranksearch.documents.from_onnx.graph import Array
from ranksearch.documents.from_onnx.windows import windows

__all__ = ["FUSED_LINEAR", "LAYERS"]

FUSED_LINEAR = "MatMul and Add"
"""A product with a matrix of weights and the bias after it; no operator of ONNX's has such a name."""

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMALISATIONS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def _filled(module: nn.Module, **tensors: Array | None) -> nn.Module:
    """The module, which was made without memory, with these values as its parameters and buffers."""
    for name, values in tensors.items():
        if values is None:
            continue
        made = torch.from_numpy(np.array(values))
        is_parameter = name in dict(module.named_parameters(recurse=False))
        setattr(module, name, nn.Parameter(made) if is_parameter else made)
    return module.eval()


def _weights(call: NodeCall, *, transposed: bool) -> tuple[Array, Array | None, int]:
    """Weight, bias and groups of a convolution."""
    weight = _floats(call, 1)
    bias = _floats(call, 2) if call.given(2) else None
    groups = call.attribute("group", 1)
    if weight.ndim < 3 or 0 in weight.shape or not 1 <= groups <= weight.shape[0] or weight.shape[0] % groups:  # noqa: PLR2004 - (O, I, size…)
        call.refuse("its weight and its groups do not fit", got=f"{list(weight.shape)}, {groups} groups")
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (outputs,):
        call.refuse("its bias does not fit its weight", got=list(bias.shape), expected=[outputs])
    kernel = call.integer_list("kernel_shape")
    if kernel is not None and kernel != list(weight.shape[2:]):
        call.refuse("its kernel_shape is not its weight's", got=kernel, expected=list(weight.shape[2:]))
    return weight, bias, groups


def _floats(call: NodeCall, index: int) -> Array:
    found = call.constant(index)
    if found.dtype != np.float32:
        call.refuse(f"its input {index} is not of float32", got=str(found.dtype), mend="export the model in float32")
    return found


def _conv(call: NodeCall) -> Tensor:
    images = call.tensor(0)
    weight, bias, groups = _weights(call, transposed=False)
    over = windows(call, images, list(weight.shape[2:]))
    inputs = weight.shape[1] * groups
    if images.shape[1] != inputs:
        call.refuse("its input does not have the weight's channels", got=str(images.shape[1]), expected=inputs)

    def make() -> nn.Module:
        kind: type[nn.Module] = _CONVOLUTIONS[len(over.kernel)]
        padding = over.begin if over.is_even else (0,) * len(over.kernel)
        steps = {"stride": over.stride, "dilation": over.dilation, "padding": padding, "groups": groups}
        module = kind(inputs, weight.shape[0], over.kernel, **steps, bias=bias is not None, device="meta")
        return _filled(module, weight=weight, bias=bias)

    return _layer(call, make, images if over.is_even else over.padded(images))


def _conv_transpose(call: NodeCall) -> Tensor:
    """Torch takes margins of one width away; of two widths they are cut off afterwards."""
    images = call.tensor(0)
    call.expect("auto_pad", "NOTSET", "NOTSET", "VALID")
    if call.integer_list("output_shape") is not None:
        call.refuse("its attribute 'output_shape' is not supported", expected="pads and output_padding")
    weight, bias, groups = _weights(call, transposed=True)
    over = windows(call, images, list(weight.shape[2:]))
    extra = call.integer_list("output_padding") or [0] * len(over.kernel)
    if images.shape[1] != weight.shape[0]:
        call.refuse("its input does not have the weight's channels", got=str(images.shape[1]), expected=weight.shape[0])
    if len(extra) != len(over.kernel) or not all(0 <= size <= max(over.stride) for size in extra):
        call.refuse("its output_padding is not usable", got=extra, expected="less than its strides")

    def make() -> nn.Module:
        kind: type[nn.Module] = _TRANSPOSED[len(over.kernel)]
        padding = over.begin if over.is_even else (0,) * len(over.kernel)
        steps = {"stride": over.stride, "dilation": over.dilation, "padding": padding, "groups": groups}
        outputs = weight.shape[1] * groups
        module = kind(
            weight.shape[0], outputs, over.kernel, **steps, output_padding=tuple(extra), bias=bias is not None,
            device="meta",
        )  # fmt: skip
        return _filled(module, weight=weight, bias=bias)

    made = _layer(call, make, images)
    if not over.is_even:
        for dim, (begin, end) in enumerate(zip(over.begin, over.end, strict=True), start=2):
            made = made.narrow(dim, begin, made.shape[dim] - begin - end)
    return made


def _batch_normalization(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    call.expect("training_mode", 0, 0)
    call.expect("spatial", 1, 1)
    call.only_output()
    kind = _NORMALISATIONS.get(given.ndim)
    scale, shift, mean, variance = (_floats(call, index) for index in range(1, 5))
    shapes = {array.shape for array in (scale, shift, mean, variance)}
    if kind is None or shapes != {(given.shape[1],)}:
        call.refuse(
            "its statistics do not fit its input", got=sorted(map(list, shapes)), expected=[str(given.shape[1])]
        )
    eps = call.attribute("epsilon", 1e-5)
    momentum = min(1.0, max(0.0, 1.0 - call.attribute("momentum", 0.9)))  # of the new value here, of the old there

    def make() -> nn.Module:
        module = kind(mean.shape[0], eps, momentum, device="meta")
        module.num_batches_tracked = torch.tensor(0)
        return _filled(module, weight=scale, bias=shift, running_mean=mean, running_var=variance)

    return _layer(call, make, given)


def _gemm(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    given = given.t() if call.attribute("transA", 0) else given
    transposed = bool(call.attribute("transB", 0))
    if isinstance(call.value(1), Tensor) or (call.given(2) and isinstance(call.value(2), Tensor)):
        matrix = call.tensor(1).t() if transposed else call.tensor(1)
        made = torch.matmul(given, matrix) * alpha
        return made + call.tensor(2) * beta if call.given(2) else made
    weight = _floats(call, 1)
    if weight.ndim != 2:  # noqa: PLR2004 - a matrix
        call.refuse("its weight is no matrix", got=list(weight.shape))
    weight = (weight if transposed else weight.T) * np.float32(alpha)
    bias = _bias(call, weight.shape[0]) if call.given(2) else None
    return _linear(call, given, weight, None if bias is None else bias * np.float32(beta))


def _matmul(call: NodeCall) -> Tensor:
    """A product of two tensors, or a linear layer."""
    weight = call.value(1)
    if isinstance(weight, Tensor) or weight.ndim != 2 or not isinstance(call.value(0), Tensor):  # noqa: PLR2004 - a matrix
        return torch.matmul(call.tensor(0), call.tensor(1))
    return _linear(call, call.tensor(0), _floats(call, 1).T, None)


def _fused_linear(call: NodeCall) -> Tensor:
    weight = _floats(call, 1).T
    return _linear(call, call.tensor(0), weight, _bias(call, weight.shape[0]))


def _bias(call: NodeCall, outputs: int) -> Array:
    bias = _floats(call, 2)
    if bias.size not in (1, outputs) or (bias.ndim and bias.shape[-1] != bias.size):
        call.refuse("its bias does not fit its weight", got=list(bias.shape), expected=[outputs])
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,)))


def _linear(call: NodeCall, given: Tensor, weight: Array, bias: Array | None) -> Tensor:
    if given.shape[-1] != weight.shape[1]:
        call.refuse("its input does not fit its weight", got=str(given.shape[-1]), expected=weight.shape[1])

    def make() -> nn.Module:
        outputs, inputs = weight.shape
        module = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
        return _filled(module, weight=weight, bias=bias)

    return _layer(call, make, given)


def _layer(call: NodeCall, make: Callable[[], nn.Module], given: Tensor) -> Tensor:
    return call.host.apply_layer(call, call.node.inputs[1], make, given)


LAYERS: Mapping[str, Operator] = {
    "BatchNormalization": _batch_normalization,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    FUSED_LINEAR: _fused_linear,
}
