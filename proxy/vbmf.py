r"""Ranks by variational Bayes: the analytic solution of empirical VB matrix factorisation.

Nakajima, Sugiyama, Babacan, Tomioka, *Global analytic solution of fully-observed variational Bayesian matrix
factorization*, JMLR 14, 2013; used for the ranks of convolutions by Kim et al., ICLR 2016, and weakened by Gusak et
al., *Automated Multi-Stage Compression of Neural Networks* (MUSCO), ICCV Workshops 2019.

Shapes: an L × M matrix, L ≤ M, ``α = L/M``, singular values ``γ_1 ≥ … ≥ γ_L``.

With the noise variance σ² and ``x_h = γ_h² / (M σ²)``, the h-th component survives where ``x_h > x̲ = (1 + τ̲)(1 +
α/τ̲)``, τ̲ the zero of ``Φ(τ) + Φ(τ/α)``, ``Φ(z) = log(1 + z)/z − 1/2`` (about 2.5129 √α). The noise, unknown, is
what minimises

    Ω(σ²) = Σ_h ψ(x_h) + L log σ² + const,   ψ(x) = x − log x + [x > x̲] (log(1 + τ) + α log(1 + τ/α) − τ),
    τ = (x − (1 + α) + √((x − (1 + α))² − 4α)) / 2,

between ``max(γ²_{H+1} / (M x̲), Σ_{h>H} γ_h² / (M (L − H)))`` with ``H = ⌈L/(1 + α)⌉ − 1``, and ``Σ_h γ_h² / (L M)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, log1p, sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.errors import UnsupportedMethod
from proxy.kernel import kernels
from proxy.layout import Layout
from proxy.ranks import maximum_ranks, show_ranks
from proxy.spectra import Spectrum, spectra

__all__ = ["group_ranks", "vbmf_rank", "vbmf_ranks", "weakened"]


def vbmf_ranks(
    weight: Float[Tensor, "I J *k"],
    method: str,
    *,
    weakening: float = 1.0,
    groups: int = 1,
    transposed: bool = False,
) -> dict[str, Any]:
    """The ranks that empirical VB finds in a weight, moved towards the full ranks if asked for.

    MUSCO's weakening: ``rank' = ⌊rank_full − w (rank_full − rank_VB)⌋``; w = 1 is VB's own answer, smaller w less
    daring, w = 0 no reduction. As there, a matrix in which VB finds nothing but noise keeps its full rank if w < 1;
    at w = 1 it gets rank 1, the least there is. (MUSCO also leaves ranks up to 20 alone, which is a matter of
    choosing layers.)

    Args:
        weight: in its layer's own layout; not changed.
        method: ``svd``, ``spatial_svd`` or ``tucker2``: VB decides the rank of each of its matrices
            (:func:`proxy.spectra.spectra`).
        weakening: w, from 0 to 1.
        groups: of the layer; all have the same ranks, the largest that VB finds in any of them.
        transposed: the weight is that of a transposed convolution.

    Returns:
        ``{"rank": r}`` or ``{"ranks": {"out": …, "in": …}}``.

    Raises:
        NotFinite: NaN or infinity in the weight.
        ShapeMismatch: not a weight, or not one of so many groups.
        UnsupportedMethod: no such method, not for this shape, not one of matrices, or a weakening out of range.
    """
    if not 0 <= weakening <= 1:
        raise UnsupportedMethod("the weakening is a share", got=weakening, expected="from 0 to 1")
    stack = kernels(weight, Layout(groups, transposed))
    found = group_ranks([spectra(kernel, method) for kernel in stack])
    most = maximum_ranks(method, stack[0].shape)
    ranks = tuple(weakened(rank, top, weakening) for rank, top in zip(found, most, strict=True))
    return show_ranks(method, ranks)


def group_ranks(found: Sequence[Sequence[Spectrum]]) -> list[int]:
    """For each rank of a method the largest that VB finds in any group; 0 where it finds nothing but noise.

    Args:
        found: the spectra of each group's kernel.
    """
    return [max(map(vbmf_rank, of_rank)) for of_rank in zip(*found, strict=True)]  # one spectrum of every group


def weakened(rank: int, top: int, weakening: float) -> int:
    """MUSCO's weakening, from VB's rank to the full one; see :func:`vbmf_ranks`."""
    if rank == 0 and weakening < 1:
        return top
    moved = top - weakening * (top - min(rank, top))
    return max(1, int(moved + 1e-9))  # 1 - 0.9 is a hair below 0.1


def vbmf_rank(spectrum: Spectrum) -> int:
    """How many components of a matrix stand out of its noise; 0 where none does.

    A matrix without noise keeps the components above round-off.
    """
    squares = spectrum.values.double().square()
    rows, columns = len(squares), spectrum.columns
    largest = float(squares[0])
    if largest == 0:
        return 0
    threshold = _threshold(rows / columns)
    variance = _noise(squares / largest, columns, threshold)
    return int((squares / largest > columns * variance * threshold).sum())


def _threshold(alpha: float) -> float:
    """``x̲``, by bisection for τ̲: the sum falls in τ, from its limit 1 at 0 to −1."""

    def excess(tau: float) -> float:
        return log1p(tau) / tau + log1p(tau / alpha) / (tau / alpha) - 1

    low, high = 1e-6 * sqrt(alpha), 10.0
    for _ in range(100):
        middle = sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (1 + low) * (1 + alpha / low)


_ROUND_OFF = 1e-14
"""Of the largest γ²: what squared singular values from a Gram matrix in float64 cannot tell from zero."""


def _noise(squares: Float[Tensor, " L"], columns: int, threshold: float) -> float:
    """σ²: a fine grid over log σ², then twice a finer one around its minimum, since Ω may have several valleys.

    Args:
        squares: γ_h², the largest is 1.
        columns: M.
        threshold: x̲.
    """
    rows = len(squares)
    surely_noise = ceil(rows / (1 + rows / columns)) - 1
    tail = squares[surely_noise:]
    least = max(float(tail[0]) / (columns * threshold), float(tail.mean()) / columns, _ROUND_OFF / columns)
    low, high = log(least), log(max(float(squares.sum()) / (rows * columns), least))
    for _ in range(3):
        grid = torch.linspace(low, high, 400, dtype=torch.float64, device=squares.device)
        best = int(_objective(grid, squares, columns, threshold).argmin())
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    return float(grid[best].exp())


def _objective(
    log_variances: Float[Tensor, " G"], squares: Float[Tensor, " L"], columns: int, threshold: float
) -> Float[Tensor, " G"]:
    """Ω at every σ² of a grid, constants left out (``−Σ log γ_h²``, infinite for a singular matrix)."""
    alpha = len(squares) / columns
    x = squares / (columns * log_variances.exp()[:, None])
    above = x > threshold
    shifted = x.clamp_min(threshold) - (1 + alpha)
    tau = (shifted + (shifted.square() - 4 * alpha).clamp_min(0).sqrt()) / 2
    gain = tau.log1p() + alpha * (tau / alpha).log1p() - tau
    return (x + torch.where(above, gain, 0.0)).sum(1) + len(squares) * log_variances
