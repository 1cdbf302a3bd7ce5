"""Sums, means and the like along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ranksearch.documents.from_onnx.calls import NodeCall, Operator

__all__ = ["REDUCTIONS"]

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _reduced(function: Reduce) -> Operator:
    def apply(call: NodeCall) -> Tensor:
        given = call.tensor(0)
        axes = call.integers(1) if call.given(1) else call.integer_list("axes")
        if not axes and call.attribute("noop_with_empty_axes", 0):
            return given
        along = call.axes(axes or range(given.ndim), given.ndim)
        return function(given, along, bool(call.attribute("keepdims", 1)))

    return apply


def _product(given: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001 - the shape of all of them
    for axis in sorted(axes, reverse=True):
        given = given.prod(axis, keepdim=keep)
    return given


REDUCTIONS: Mapping[str, Operator] = {
    "ReduceL1": _reduced(lambda given, axes, keep: given.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda given, axes, keep: torch.linalg.vector_norm(given, 2, axes, keepdim=keep)),
    "ReduceLogSumExp": _reduced(lambda given, axes, keep: given.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reduced(lambda given, axes, keep: given.amax(axes, keepdim=keep)),
    "ReduceMean": _reduced(lambda given, axes, keep: given.mean(axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda given, axes, keep: given.amin(axes, keepdim=keep)),
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(lambda given, axes, keep: given.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduced(lambda given, axes, keep: given.square().sum(axes, keepdim=keep)),
}
