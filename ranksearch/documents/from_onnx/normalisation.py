"""Softmax, and normalisations whose statistics are those of the values at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall, Operator

__all__ = ["NORMALISATION"]

_AXIS_ALONE = 13
"""From this opset on a softmax is taken along its axis alone; before, over all axes from it on."""
_SCALE_PER_CHANNEL = 21


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def apply(call: NodeCall) -> Tensor:
        given = call.tensor(0)
        if call.opset >= _AXIS_ALONE:
            return function(given, dim=call.axis(call.attribute("axis", -1), given.ndim))
        axis = call.axis(call.attribute("axis", 1), given.ndim)
        if axis == given.ndim - 1:
            return function(given, dim=axis)
        return function(given.flatten(axis), dim=axis).reshape(given.shape)

    return apply


def _affine(call: NodeCall) -> tuple[Tensor, Tensor | None]:
    """Scale and shift of the channels."""
    return call.tensor(1), call.tensor(2) if call.given(2) else None


def _instance_normalization(call: NodeCall) -> Tensor:
    scale, shift = _affine(call)
    return functional.instance_norm(
        call.tensor(0), weight=scale, bias=shift, eps=call.attribute("epsilon", 1e-5), use_input_stats=True
    )


def _layer_normalization(call: NodeCall) -> Tensor:
    call.only_output()
    call.expect("stash_type", 1, 1)
    given = call.tensor(0)
    axis = call.axis(call.attribute("axis", -1), given.ndim)
    shape = list(given.shape[axis:])
    scale, shift = _affine(call)
    if list(scale.shape) != shape or (shift is not None and list(shift.shape) != shape):
        call.refuse("its scale does not have the shape that is normalised", got=list(scale.shape), expected=shape)
    return functional.layer_norm(given, shape, scale, shift, call.attribute("epsilon", 1e-5))


def _group_normalization(call: NodeCall) -> Tensor:
    given, groups = call.tensor(0), call.attribute("num_groups", 0)
    scale, shift = _affine(call)
    if groups < 1 or given.ndim < 2 or given.shape[1] % groups:  # noqa: PLR2004 - N and C
        call.refuse("its groups do not divide its channels", got=groups)
    if call.opset < _SCALE_PER_CHANNEL:
        repeated = given.shape[1] // groups
        scale = scale.reshape(-1, 1).expand(-1, repeated).reshape(-1)
        shift = None if shift is None else shift.reshape(-1, 1).expand(-1, repeated).reshape(-1)
    return functional.group_norm(given, groups, scale, shift, call.attribute("epsilon", 1e-5))


def _lrn(call: NodeCall) -> Tensor:
    return functional.local_response_norm(
        call.tensor(0),
        min(call.attribute("size", 1), 2**10),
        call.attribute("alpha", 1e-4),
        call.attribute("beta", 0.75),
        call.attribute("bias", 1.0),
    )


def _lp_normalization(call: NodeCall) -> Tensor:
    given, power = call.tensor(0), call.expect("p", 2, 1, 2)
    axis = call.axis(call.attribute("axis", -1), given.ndim)
    length: Tensor = torch.linalg.vector_norm(given, power, axis, keepdim=True)
    return given / length


NORMALISATION: Mapping[str, Operator] = {
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LRN": _lrn,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _softmax(functional.log_softmax),
    "LpNormalization": _lp_normalization,
    "Softmax": _softmax(functional.softmax),
}
