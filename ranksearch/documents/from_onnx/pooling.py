"""Pooling: the largest or the mean value of each window, or of the whole image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall, Operator
from ranksearch.documents.from_onnx.windows import Windows, windows

__all__ = ["POOLING"]

_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEANS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _windows(call: NodeCall, images: Tensor) -> Windows:
    kernel = call.integer_list("kernel_shape")
    if kernel is None:
        call.refuse("its attribute 'kernel_shape' is missing")
    return windows(call, images, kernel)


def _fits(over: Windows) -> bool:
    """Whether torch adds such margins itself: of one width, and at most half a window."""
    return over.is_even and all(2 * margin <= size for margin, size in zip(over.begin, over.kernel, strict=True))


def _max_pool(call: NodeCall) -> Tensor:
    images = call.tensor(0)
    call.only_output()
    call.expect("storage_order", 0, 0)
    over = _windows(call, images)
    margins = over.begin if _fits(over) else (0,) * len(over.kernel)
    images = images if _fits(over) else over.padded(images, -math.inf)
    ceil = bool(call.attribute("ceil_mode", 0))
    pool = _MAXIMA[len(over.kernel)]
    made: Tensor = pool(images, over.kernel, over.stride, margins, over.dilation, ceil_mode=ceil)
    return made


def _average_pool(call: NodeCall) -> Tensor:
    """Where margins are of two widths and do not count, sums are divided by how many pixels they are of."""
    images = call.tensor(0)
    over = _windows(call, images)
    if set(over.dilation) != {1}:
        call.refuse("its dilations are not supported", got=list(over.dilation), expected="1 everywhere")
    ceil = bool(call.attribute("ceil_mode", 0))
    counts = bool(call.attribute("count_include_pad", 0))
    pool = _MEANS[len(over.kernel)]
    if _fits(over):
        made: Tensor = pool(images, over.kernel, over.stride, over.begin, ceil_mode=ceil, count_include_pad=counts)
        return made
    if ceil:
        call.refuse("its ceil_mode does not go with margins of two widths", got=[list(over.begin), list(over.end)])
    mean: Tensor = pool(over.padded(images), over.kernel, over.stride)
    if counts:
        return mean
    share: Tensor = pool(over.padded(torch.ones_like(images)), over.kernel, over.stride)
    return mean / share


def _spatial(call: NodeCall, images: Tensor) -> list[int]:
    if images.ndim < 3:  # noqa: PLR2004 - N, C and something to pool
        call.refuse("its input is no image", got=f"{images.ndim} dimensions")
    return list(range(2, images.ndim))


def _global_average_pool(call: NodeCall) -> Tensor:
    images = call.tensor(0)
    return images.mean(_spatial(call, images), keepdim=True)


def _global_max_pool(call: NodeCall) -> Tensor:
    images = call.tensor(0)
    return images.amax(_spatial(call, images), keepdim=True)


POOLING: Mapping[str, Operator] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool,
}
