"""Windows that slide over images: their sizes, steps and margins, as convolutions and pooling share them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from ranksearch.documents.from_onnx.calls import NodeCall

__all__ = ["Windows", "windows"]

_MAX_STEP = 2**12
_MAX_DIMS = 3


@dataclass(frozen=True, slots=True)
class Windows:
    """One number for each spatial dimension, in each list.

    Args:
        kernel: sizes.
        stride: steps.
        dilation: between the elements of a window.
        begin: what is added in front of an image.
        end: and behind it.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def is_even(self) -> bool:
        """Whether as much is added in front as behind."""
        return self.begin == self.end

    def padded(self, images: Tensor, value: float = 0.0) -> Tensor:
        """The images with their margins."""
        margins = [size for pair in zip(self.begin[::-1], self.end[::-1], strict=True) for size in pair]
        return functional.pad(images, margins, value=value)


def windows(call: NodeCall, images: Tensor, kernel: list[int]) -> Windows:
    """The windows of a convolution or a pooling.

    Args:
        call: its node.
        images: of shape ``(N, C, …)``.
        kernel: sizes of the windows.

    Raises:
        OnnxError: they are no windows on such images.
    """
    dims = len(kernel)
    if not 1 <= dims <= _MAX_DIMS or images.ndim != dims + 2:
        call.refuse(
            "its windows and its input have different dimensions",
            got=f"windows of {dims}, an input of {images.ndim}",
            expected="inputs of shape (N, C, …) with 1 to 3 dimensions to slide over",
        )
    stride = _steps(call, "strides", dims)
    dilation = _steps(call, "dilations", dims)
    if not all(1 <= size <= _MAX_STEP for size in kernel):
        call.refuse("its windows are of no usable size", got=kernel, expected=f"from 1 to {_MAX_STEP}")
    auto = call.expect("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if auto == "NOTSET":
        pads = call.integer_list("pads") or [0] * (2 * dims)
    elif auto == "VALID":
        pads = [0] * (2 * dims)
    else:
        pads = _same(call, images, kernel, stride, dilation, upper=auto == "SAME_UPPER")
    if len(pads) != 2 * dims or not all(0 <= size <= _MAX_STEP for size in pads):
        call.refuse("its pads are not usable", got=pads, expected=f"{2 * dims} numbers from 0 to {_MAX_STEP}")
    return Windows(tuple(kernel), stride, dilation, tuple(pads[:dims]), tuple(pads[dims:]))


def _steps(call: NodeCall, name: str, dims: int) -> tuple[int, ...]:
    steps = call.integer_list(name) or [1] * dims
    if len(steps) != dims or not all(1 <= step <= _MAX_STEP for step in steps):
        call.refuse(f"its {name} are not usable", got=steps, expected=f"{dims} numbers from 1 to {_MAX_STEP}")
    return tuple(steps)


def _same(
    call: NodeCall,
    images: Tensor,
    kernel: list[int],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    upper: bool,
) -> list[int]:
    """Margins with which an image of n pixels gives ⌈n / stride⌉ of them."""
    begin, end = [], []
    for size, window, step, gap in zip(images.shape[2:], kernel, stride, dilation, strict=True):
        if not isinstance(size, int):
            call.refuse("its margins depend on a size that is free", got=str(size))
        total = max(0, (-(-size // step) - 1) * step + (window - 1) * gap + 1 - size)
        begin.append(total // 2 if upper else total - total // 2)
        end.append(total - begin[-1])
    return [*begin, *end]
