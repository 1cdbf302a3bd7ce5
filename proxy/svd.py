"""Truncated SVD: the best rank-R matrix (Eckart–Young).

For 1×1 convolutions and linear layers, and for k×k kernels cut into a vertical and a horizontal half.

Shapes: T output channels, S input channels, kh × kw kernel, R rank.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from proxy.factors import Factors

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from proxy.kernel import Kernel

__all__ = ["spatial_svd", "svd", "tail_errors"]


def svd(kernel: Kernel, rank: int) -> Factors:
    """``W ≈ U Σ Vᵀ`` cut at the rank, Σ shared evenly between the sides: layers ``V √Σ`` then ``√Σ U``."""
    left, values, right = kernel.matrix_svd
    out, inn = _halves(left, values, right, rank)
    tensors = {"out": kernel.finished(out, sqrt(kernel.scale)), "in": kernel.finished(inn, sqrt(kernel.scale))}
    return Factors("svd", (rank,), kernel.shape, tensors, tail_errors(kernel, values)[rank - 1])


def spatial_svd(kernel: Kernel, rank: int) -> Factors:
    """Best pair of a (kh × 1) and a (1 × kw) convolution: SVD of the weight as an (S·kh) × (T·kw) matrix.

    Jaderberg, Vedaldi, Zisserman, *Speeding up Convolutional Neural Networks with Low Rank Expansions*, BMVC
    2014, scheme 2, solved in closed form as in Tai et al., ICLR 2016.
    """
    left, values, right = kernel.separable_svd
    inn, out = _halves(left, values, right, rank)
    size_out, size_inn, height, width = kernel.shape
    scale = sqrt(kernel.scale)
    tensors = {
        "out": kernel.finished(out.view(rank, size_out, width).movedim(0, 2), scale),
        "in": kernel.finished(inn.view(size_inn, height, rank), scale),
    }
    return Factors("spatial_svd", (rank,), kernel.shape, tensors, tail_errors(kernel, values)[rank - 1])


def _halves(left: Tensor, values: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def tail_errors(kernel: Kernel, values: Float[Tensor, " K"]) -> list[float]:
    """Relative error at rank 1, 2, …: ``√(Σ_{i>R} σ_i² / ‖W‖²)``, exact by Eckart–Young."""
    if kernel.is_zero:
        return [0.0] * len(values)
    energy = values.double().square()
    tail = energy.flip(0).cumsum(0).flip(0) / energy.sum()
    return [*tail[1:].sqrt().tolist(), 0.0]
