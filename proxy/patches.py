"""What the kernel of a convolution sees at every position of its output."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

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
        self._stride = tuple(max(steps) for steps in zip(*(link.stride for link in every), strict=True))
        self._dilation = tuple(max(gaps) for gaps in zip(*(link.dilation for link in every), strict=True))
        self._padding = [max(widths) for widths in zip(*pads, strict=True)]
        modes = [link.padding_mode for link, widths in zip(every, pads, strict=True) if any(widths)]
        mode = modes[0] if modes else "zeros"
        self._mode = "constant" if mode == "zeros" else mode  # torch's two names for it

    @property
    def entries(self) -> int:
        """Of the kernel, for one channel."""
        return math.prod(self._kernel)

    def patches(self, entering: Float[Tensor, "B S H W"]) -> Float[Tensor, "B P L"]:
        """P = S·kh·kw entries at every of L positions, the channels outermost."""
        padded = functional.pad(entering, self._padding, self._mode)
        return functional.unfold(padded, self._kernel, dilation=self._dilation, stride=self._stride)
