"""Kernels to measure on: those of a trained network, and made ones of the shapes of larger networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["RESNET18_SHAPES", "cut_rank", "made_kernel", "resnet_kernels", "shared_module"]

RESNET18_SHAPES = ((64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512))
"""(T, S) of ResNet-18's 3×3 convolutions after the first."""


def shared_module(data: Path) -> Any:  # noqa: ANN401 - a module found at run time
    """The loader that lies next to the real weights and images."""
    sys.path.insert(0, str(data))
    try:
        import cifar  # noqa: PLC0415 - lies in the data folder
    finally:
        sys.path.remove(str(data))
    return cifar


def resnet_kernels(data: Path, depth: int) -> dict[str, Tensor]:
    """Name → weight of the 3×3 convolutions in the blocks of a CIFAR ResNet: 54 for depth 56."""
    model = shared_module(data).resnet(depth)
    return {
        name.removesuffix(".weight"): parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.ndim == 4 and name.startswith("layer")  # noqa: PLR2004 - (T, S, kh, kw)
    }


def made_kernel(out: int, inn: int, seed: int = 0) -> Tensor:
    """A 3×3 kernel whose singular values decay about as those of trained ones.

    A Gaussian core, each channel mode weighted with ``i^-0.25`` and the positions with ``i^-0.7``, in random
    orthonormal bases. The exponents are chosen so that 64×64×9 has the relative error at a 3× cut that ResNet-56's
    kernels of that shape have on average (0.40).
    """
    generator = torch.Generator().manual_seed(seed)
    core = torch.randn(out, inn, 9, generator=generator)
    for axis, decay in enumerate((0.25, 0.25, 0.7)):
        length = core.shape[axis]
        basis = torch.linalg.qr(torch.randn(length, length, generator=generator))[0]
        weights = torch.arange(1, length + 1).pow(-decay)
        core = torch.tensordot(core, basis * weights, dims=([axis], [1])).movedim(-1, axis)
    return core.reshape(out, inn, 3, 3)


def cut_rank(weight: Tensor, cut: float) -> int:
    """The CP rank at which a kernel's MACs fall by the factor ``cut``."""
    out, inn = weight.shape[:2]
    return max(1, round(weight.numel() / (cut * (out + inn + weight[0, 0].numel()))))
