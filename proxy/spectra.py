"""The matrices behind a method's ranks, and the least ranks that keep a share of their energy.

Every rank of ``svd``, ``spatial_svd`` and ``tucker2`` is the rank of one matrix made of the weight; rules that choose
ranks from singular values (equal energy here, :mod:`proxy.vbmf`) work on those.

Shapes: T output channels, S input channels, kh × kw kernel, D kernel positions; L × M a matrix with L ≤ M.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.errors import UnsupportedMethod
from proxy.factors import energy_shares
from proxy.kernel import Kernel, gram, kernels
from proxy.layout import Layout
from proxy.ranks import maximum_ranks, show_ranks
from proxy.solvers import refuse_shape

__all__ = ["Spectrum", "energy_ranks", "least", "shared_energies", "spectra"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of one matrix.

    Args:
        values: all L of them, the largest first, of a weight of unit norm.
        columns: M, the longer side.
    """

    values: Float[Tensor, " L"]
    columns: int


def spectra(kernel: Kernel, method: str) -> list[Spectrum]:
    """One spectrum for each rank of the method, in the order of its ranks.

    ``svd``: the weight as T × S. ``spatial_svd``: S·kh × T·kw. ``tucker2``: the unfoldings T × S·D and S × T·D.

    Raises:
        UnsupportedMethod: no such method, not for this shape, or one whose ranks are not those of matrices (CP).
    """
    reason = refuse_shape(method, kernel.shape)
    if reason is None and method not in ("svd", "spatial_svd", "tucker2"):
        reason = f"the ranks of {method} are not those of a matrix"
    if reason is not None:
        raise UnsupportedMethod(
            reason,
            got=f"{method!r} for a weight of shape {kernel.shape}",
            expected="svd, spatial_svd or tucker2",
            mend="ask ranks_for_error for the ranks of a CP decomposition",
        )
    tensor = kernel.tensor.double()
    if method == "svd":
        matrices = [tensor.flatten(1)]
    elif method == "spatial_svd":
        split = tensor.view(*kernel.shape)
        matrices = [split.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)]
    else:
        matrices = [tensor.flatten(1), tensor.transpose(0, 1).flatten(1)]
    return [_spectrum(matrix) for matrix in matrices]


def _spectrum(matrix: Float[Tensor, "I J"]) -> Spectrum:
    """By the smaller Gram matrix: the small values it blurs (below 1e-8 of the largest) are round-off anyway."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    squares = torch.linalg.eigvalsh(gram(wide)).flip(0).clamp_min(0)
    return Spectrum(squares.sqrt().cpu(), wide.shape[1])


def energy_ranks(
    weight: Float[Tensor, "I J *k"],
    method: str,
    *,
    energy: float = 0.9,
    groups: int = 1,
    transposed: bool = False,
) -> dict[str, Any]:
    """The least ranks that keep a share of the energy (squared singular values) of every matrix of the method.

    For ``svd`` and ``spatial_svd`` the relative error is then at most ``√(1 − energy)``; for ``tucker2``, where both
    unfoldings lose that much, at most ``√(2 (1 − energy))`` (De Lathauwer, De Moor, Vandewalle, *A multilinear
    singular value decomposition*, 2000, Property 10).

    Args:
        weight: in its layer's own layout; not changed.
        method: ``svd``, ``spatial_svd`` or ``tucker2``.
        energy: the share to keep, above 0, at most 1; of all groups together.
        groups: of the layer; all have the same ranks.
        transposed: the weight is that of a transposed convolution.

    Returns:
        ``{"rank": r}`` or ``{"ranks": {"out": …, "in": …}}``; rank 1 for an all-zero weight.

    Raises:
        NotFinite: NaN or infinity in the weight.
        ShapeMismatch: not a weight, or not one of so many groups.
        UnsupportedMethod: no such method, not for this shape, or a share that is none.
    """
    if not 0 < energy <= 1:
        raise UnsupportedMethod("the energy to keep is a share", got=energy, expected="above 0, at most 1")
    stack = kernels(weight, Layout(groups, transposed))
    energies = shared_energies(stack, [spectra(kernel, method) for kernel in stack])
    most = maximum_ranks(method, stack[0].shape)
    return show_ranks(method, tuple(min(least(own, energy), top) for own, top in zip(energies, most, strict=True)))


def shared_energies(stack: Sequence[Kernel], found: Sequence[Sequence[Spectrum]]) -> list[Float[Tensor, " L"]]:
    """For each rank of a method, the energies of its components, of all groups together.

    Args:
        stack: the groups' kernels.
        found: the spectra of each.
    """
    shares = energy_shares([kernel.scale for kernel in stack])
    return [
        torch.stack([p * own.values.square() for p, own in zip(shares, of_rank, strict=True)]).sum(0)
        for of_rank in zip(*found, strict=True)  # one spectrum of every group
    ]


def least(energies: Float[Tensor, " L"], share: float) -> int:
    """The fewest components, the strongest first, that hold a share of the energy."""
    kept = energies.cumsum(0)
    enough = kept >= share * float(kept[-1]) * (1 - 1e-12)
    return int(enough.double().argmax()) + 1
