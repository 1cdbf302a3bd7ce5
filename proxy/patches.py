"""What the kernel of a convolution sees at every position of its output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Walk"]


class Walk:
    """How a convolution of two axes walks the image, or a chain of them of which one walks along each axis.

    Args:
        links: the chain's layers; those around the ones that walk have kernels of one entry and no padding.
    """

    def __init__(self, links: Iterable[nn.Module]) -> None:
        every: list[Any] = list(links)
        pads = [link._reversed_padding_repeated_twice for link in every]  # noqa: SLF001 - as the layers themselves pad
        self._kernel: tuple[int, ...] = tuple(
            max(sizes) for sizes in zip(*(link.kernel_size for link in every), strict=True)
        )
        self._stride: tuple[int, ...] = tuple(
            max(steps) for steps in zip(*(link.stride for link in every), strict=True)
        )
        self._dilation: tuple[int, ...] = tuple(
            max(gaps) for gaps in zip(*(link.dilation for link in every), strict=True)
        )
        self._padding = [max(widths) for widths in zip(*pads, strict=True)]
        modes = [link.padding_mode for link, widths in zip(every, pads, strict=True) if any(widths)]
        mode = modes[0] if modes else "zeros"
        self._mode = "constant" if mode == "zeros" else mode  # torch's two names for it

    @property
    def entries(self) -> int:
        """Of the kernel, for one channel."""
        return math.prod(self._kernel)

    def patches(self, entering: Float[Tensor, "B S H W"], positions: Tensor) -> Float[Tensor, "B*n P"]:
        """P = S·kh·kw entries, the channels outermost, at these positions of every image.

        Args:
            entering: features.
            positions: numbers of output positions, row by row, (n,).
        """
        padded = functional.pad(entering, self._padding, self._mode)
        a_row = self._starts(padded.shape[3], 1)
        row, column = positions // a_row * self._stride[0], positions % a_row * self._stride[1]
        pixels = padded.movedim(1, -1)
        offsets = itertools.product(
            *(range(0, size * gap, gap) for size, gap in zip(self._kernel, self._dilation, strict=True))
        )
        seen = [pixels[:, row + down, column + right] for down, right in offsets]
        return torch.stack(seen, -1).reshape(-1, entering.shape[1] * len(seen))

    def _starts(self, size: int, axis: int) -> int:
        """Output positions along an axis of so many padded pixels."""
        return (size - self._dilation[axis] * (self._kernel[axis] - 1) - 1) // self._stride[axis] + 1
