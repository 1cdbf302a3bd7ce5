"""Images made larger or smaller, in those of ONNX's many ways that torch has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall, Operator

__all__ = ["RESIZING"]

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_MAX_SIDE = 2**14
_CUBIC_COEFFICIENT = -0.75
_MEND = "export with torch.nn.functional.interpolate's nearest, bilinear or bicubic"


def _resize(call: NodeCall) -> Tensor:
    images = call.tensor(0)
    dims = images.ndim - 2
    call.expect("antialias", 0, 0)
    call.expect("exclude_outside", 0, 0)
    call.expect("keep_aspect_ratio_policy", "stretch", "stretch")
    mode = call.expect("mode", "nearest", "nearest", "linear", "cubic")
    where = call.attribute("coordinate_transformation_mode", "half_pixel")
    size, scales = _target(call, images)
    if mode == "nearest":
        return _nearest(call, images, where, size, scales)
    if dims not in _LINEAR or (mode == "cubic" and dims != 2):  # noqa: PLR2004 - torch's cubic is of images alone
        call.refuse(f"mode {mode!r} is not supported for inputs of {images.ndim} dimensions", mend=_MEND)
    if mode == "cubic" and abs(call.attribute("cubic_coeff_a", _CUBIC_COEFFICIENT) - _CUBIC_COEFFICIENT) > 1e-6:  # noqa: PLR2004 - float32
        call.refuse("its cubic_coeff_a is not supported", expected=_CUBIC_COEFFICIENT, mend=_MEND)
    if where not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        call.refuse(
            "its coordinate_transformation_mode is not supported with this mode",
            got=where,
            expected="half_pixel, pytorch_half_pixel or align_corners",
            mend=_MEND,
        )
    torch_mode = "bicubic" if mode == "cubic" else _LINEAR[dims]
    if scales is None or where == "align_corners":
        return functional.interpolate(images, size=size, mode=torch_mode, align_corners=where == "align_corners")
    return functional.interpolate(images, scale_factor=scales, mode=torch_mode, align_corners=False)


def _nearest(call: NodeCall, images: Tensor, where: str, size: list[int], scales: list[float] | None) -> Tensor:
    """Torch rounds down. By a whole factor all ways of rounding to the nearest pixel are that one."""
    rounding = call.attribute("nearest_mode", "round_prefer_floor")
    sides = [int(side) for side in images.shape[2:]]
    whole = all(wanted % side == 0 for wanted, side in zip(size, sides, strict=True))
    plain = where == "asymmetric" and rounding == "floor"
    half = where in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
    if not plain and not (whole and half and rounding in ("round_prefer_floor", "round_prefer_ceil")):
        call.refuse(
            "this way of taking the nearest pixel is not supported",
            got=f"coordinate_transformation_mode {where}, nearest_mode {rounding}, {sides} to {size}",
            expected="asymmetric and floor, or half_pixel by a whole factor",
            mend=_MEND,
        )
    if scales is None or whole:
        return functional.interpolate(images, size=size, mode="nearest")
    return functional.interpolate(images, scale_factor=scales, mode="nearest")


def _target(call: NodeCall, images: Tensor) -> tuple[list[int], list[float] | None]:
    """The images' sides afterwards, and the factors where the file gives factors."""
    chosen = call.integer_list("axes")
    axes = call.axes(range(images.ndim) if chosen is None else chosen, images.ndim)
    if call.given(3):
        given: list[Any] = call.sizes(3)
        factors = None
    else:
        found = call.constant(2) if call.given(2) else None
        if found is None or found.dtype.kind != "f":
            call.refuse("it has neither sizes nor constant scales")
        factors = [float(item) for item in found.reshape(-1)]
        given = [size * factor for size, factor in zip((images.shape[axis] for axis in axes), factors, strict=False)]
    if len(given) != len(axes):
        call.refuse("its sizes are not as many as its input has", got=len(given), expected=len(axes))
    size, scales = [int(side) for side in images.shape[2:]], [1.0] * (images.ndim - 2)
    for place, (axis, wanted) in enumerate(zip(axes, given, strict=True)):
        if axis >= 2:  # noqa: PLR2004 - behind N and C
            size[axis - 2] = int(wanted)
            scales[axis - 2] = 1.0 if factors is None else factors[place]
        elif axis == 1 and wanted != images.shape[1]:
            call.refuse("it changes the number of channels", got=str(wanted))
        elif axis == 0 and (factors[place] != 1 if factors else not _is_batch(call, wanted, images)):
            call.refuse("it changes the batch", got=str(wanted))
    if not size or not all(1 <= side <= _MAX_SIDE for side in size):
        call.refuse("it makes images of no usable size", got=size, expected=f"sides from 1 to {_MAX_SIDE}")
    return size, None if factors is None else scales


def _is_batch(call: NodeCall, wanted: Any, images: Tensor) -> bool:  # noqa: ANN401 - a size may be a symbol
    return call.host.frees_batch(call, wanted, images) or bool(wanted == images.shape[0])


RESIZING: Mapping[str, Operator] = {"Resize": _resize}
