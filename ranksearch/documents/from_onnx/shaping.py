"""Operators that move values about: shapes, parts, joins, margins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall, Operator
from ranksearch.documents.from_onnx.graph import Array

__all__ = ["SHAPING", "sliced"]

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
_MAX_MARGIN = 2**14
_LAST = 2**31 - 1


def _constant(call: NodeCall) -> Array:
    for name, value in call.node.attributes.items():
        if name == "value" and isinstance(value, np.ndarray):
            return value
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
    return call.refuse("it holds no numbers", got=sorted(call.node.attributes))


def _constant_of_shape(call: NodeCall) -> Tensor:
    value = call.node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        call.refuse("its value is not one number")
    dtype = torch.from_numpy(np.array(value)).dtype
    shape = call.sizes(0)
    if any(type(size) is int and not 0 <= size <= _LAST for size in shape):
        call.refuse("its shape is none", got=shape)
    return torch.full(shape, value.reshape(-1)[0].item(), dtype=dtype, device=call.host.device)


def _shape(call: NodeCall) -> Array:
    shape = call.value(0).shape
    end = call.node.attributes.get("end")
    found: list[Any] = list(shape)[call.attribute("start", 0) : end if isinstance(end, int) else None]
    return np.array(found, object if any(type(size) is not int for size in found) else np.int64)


def _reshape(call: NodeCall) -> Tensor:
    given, wanted = call.tensor(0), call.sizes(1)
    if not call.attribute("allowzero", 0):
        for place, size in enumerate(wanted):
            if type(size) is int and size == 0:
                if place >= given.ndim:
                    call.refuse("it keeps a size that its input does not have", got=wanted)
                wanted[place] = given.shape[place]
    if wanted and call.host.frees_batch(call, wanted[0], given):
        wanted[0] = given.shape[0]
    return given.reshape(wanted)


def _flatten(call: NodeCall) -> Tensor:
    given, axis = call.tensor(0), call.attribute("axis", 1)
    axis = axis if axis == given.ndim else call.axis(axis, given.ndim)
    if axis == 0:
        return given.reshape(1, -1)
    given = given.flatten(0, axis - 1) if axis > 1 else given
    return given.flatten(1) if given.ndim > 1 else given.unsqueeze(1)


def _squeeze(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    axes = call.integers(1) if call.given(1) else call.integer_list("axes")
    if axes is None:
        axes = [axis for axis, size in enumerate(given.shape) if type(size) is int and size == 1]
    axes = call.axes(axes, given.ndim)
    if any(given.shape[axis] != 1 for axis in axes):
        call.refuse("it drops an axis with more than one value", got=axes)
    for axis in sorted(axes, reverse=True):
        given = given.squeeze(axis)
    return given


def _unsqueeze(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    axes = call.integers(1) if call.given(1) else call.integer_list("axes") or []
    for axis in sorted(call.axes(axes, given.ndim + len(axes))):
        given = given.unsqueeze(axis)
    return given


def _transpose(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    order = call.integer_list("perm") or list(range(given.ndim))[::-1]
    if sorted(order) != list(range(given.ndim)):
        call.refuse("its perm is no order of its input's axes", got=order)
    return given.permute(order)


def _concat(call: NodeCall) -> Tensor:
    parts = [call.tensor(index) for index in range(len(call.values))]
    return torch.cat(parts, call.axis(call.attribute("axis", 0), parts[0].ndim))


def _slice(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    starts, ends = call.integers(1), call.integers(2)
    axes = call.axes(call.integers(3) if call.given(3) else range(len(starts)), given.ndim)
    steps = call.integers(4) if call.given(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        call.refuse("its starts, ends, axes and steps are not as many", got=[starts, ends, axes, steps])
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step == -1 and (start == -1 or start >= _LAST) and end <= -_LAST:
            given = given.flip(axis)
            continue
        if step < 1:
            call.refuse("its steps are not supported", got=step, expected="1 or more, or -1 from end to start")
        place = [slice(None)] * axis + [slice(start, min(end, _LAST), step)]
        given = given[tuple(place)]
    return given


def sliced(call: NodeCall, given: Array) -> Array:
    """A slice of numbers that are known while tracing."""
    starts, ends = call.integers(1), call.integers(2)
    axes = call.axes(call.integers(3) if call.given(3) else range(len(starts)), given.ndim)
    steps = call.integers(4) if call.given(4) else [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step == 0:
            call.refuse("its step is 0")
        bound = None if step < 0 and end < -given.shape[axis] else end
        given = given[(slice(None),) * axis + (slice(start, bound, step),)]
    return given


def _split(call: NodeCall) -> Sequence[Tensor]:
    given = call.tensor(0)
    axis = call.axis(call.attribute("axis", 0), given.ndim)
    sizes = call.integers(1) if call.given(1) else call.integer_list("split")
    count = len(call.node.outputs)
    if sizes is None:
        whole = given.shape[axis]
        each = -(-whole // count)
        sizes = [each] * (count - 1) + [whole - each * (count - 1)]
    if len(sizes) != count or any(size < 0 for size in sizes):
        call.refuse("its parts are not as many as its outputs", got=sizes, expected=f"{count} sizes")
    return torch.split(given, sizes, axis)


def _gather(call: NodeCall) -> Tensor:
    given, places = call.tensor(0), call.constant(1)
    axis = call.axis(call.attribute("axis", 0), given.ndim)
    count: object = given.shape[axis]  # a symbol where it is the batch
    if places.dtype.kind not in "iu" or places.size > _MAX_MARGIN:
        call.refuse("its indices are no whole numbers, or too many", got=f"{places.dtype}{list(places.shape)}")
    numbers = [int(place) for place in places.reshape(-1)]
    if not isinstance(count, int) or not all(-count <= number < count for number in numbers):
        call.refuse("its indices are not within its input", got=numbers[:8], expected=f"below {count}")
    if places.ndim == 0:
        return given.select(axis, numbers[0] % count)
    chosen = torch.stack([given.select(axis, number % count) for number in numbers], axis) if numbers else None
    if chosen is None:
        call.refuse("it takes nothing")
    shape = [*given.shape[:axis], *places.shape, *given.shape[axis + 1 :]]
    return chosen if places.ndim == 1 else chosen.reshape(shape)


def _pad(call: NodeCall) -> Tensor:
    given = call.tensor(0)
    mode = _MODES[call.expect("mode", "constant", *_MODES)]
    pads = call.integers(1)
    axes = call.axes(call.integers(3) if call.given(3) else range(given.ndim), given.ndim)
    if len(pads) != 2 * len(axes) or not all(abs(size) <= _MAX_MARGIN for size in pads):
        call.refuse("its pads are not usable", got=pads, expected=f"{2 * len(axes)} numbers up to {_MAX_MARGIN}")
    margins = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    ordered = [margins.get(axis, (0, 0)) for axis in range(given.ndim)][::-1]  # torch begins with the last axis
    if mode != "constant":
        if any(pair != (0, 0) for pair in ordered[-2:]):
            call.refuse(f"mode {mode!r} is supported for images, not for batch and channels", got=pads)
        return functional.pad(given, [size for pair in ordered[:-2] for size in pair], mode=mode)
    while ordered and ordered[-1] == (0, 0):
        ordered.pop()
    flat = [size for pair in ordered for size in pair]
    return functional.pad(given, flat, value=call.number(2) or 0.0) if flat else given


def _expand(call: NodeCall) -> Tensor:
    given, wanted = call.tensor(0), call.sizes(1)
    rank = max(given.ndim, len(wanted))
    shape = [1] * (rank - given.ndim) + list(given.shape)
    target = [1] * (rank - len(wanted)) + wanted
    made = []
    for have, want in zip(shape, target, strict=True):
        is_one = type(want) is int and want == 1
        made.append(have if is_one or not (type(have) is int and have == 1) else want)
    if call.host.frees_batch(call, target[0], given):
        made[0] = shape[0]
    return given.expand(made)


def _tile(call: NodeCall) -> Tensor:
    given, repeats = call.tensor(0), call.integers(1)
    if len(repeats) != given.ndim or not all(count > 0 for count in repeats) or math.prod(repeats) > _MAX_MARGIN:
        call.refuse("its repeats are not usable", got=repeats, expected=f"{given.ndim} numbers from 1 on")
    return given.repeat(repeats)


def _depth_to_space(call: NodeCall) -> Tensor:
    images, block = call.tensor(0), call.attribute("blocksize", 1)
    mode = call.expect("mode", "DCR", "DCR", "CRD")
    if images.ndim != 4 or block < 1 or images.shape[1] % block**2:  # noqa: PLR2004 - N, C, H, W
        call.refuse("its blocks do not divide its channels", got=block)
    if mode == "CRD":
        return functional.pixel_shuffle(images, block)
    _, channels, height, width = images.shape
    parts = images.reshape(-1, block, block, channels // block**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels // block**2, height * block, width * block)


def _space_to_depth(call: NodeCall) -> Tensor:
    images, block = call.tensor(0), call.attribute("blocksize", 1)
    if images.ndim != 4 or block < 1 or images.shape[2] % block or images.shape[3] % block:  # noqa: PLR2004 - N, C, H, W
        call.refuse("its blocks do not divide its input", got=block)
    _, channels, height, width = images.shape
    parts = images.reshape(-1, channels, height // block, block, width // block, block)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels * block**2, height // block, width // block)


SHAPING: Mapping[str, Operator] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
