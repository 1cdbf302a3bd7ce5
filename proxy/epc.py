r"""Error-preserving correction: the most stable CP decompositions within their error bounds.

``min ss(A, B, C)  s.t.  ‖Y − [[A, B, C]]‖² ≤ δ²`` by alternating over the factors. Phan, Tichavský, Cichocki,
*Error Preserving Correction*, arXiv 1709.08349; with the sensitivity as objective, Phan et al., ECCV 2020,
arXiv 2008.05441.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R rank; factors A (n, T, R), B (n, S,
R), C (n, D, R).

The update of A (B and C alike) is exact. In A alone the objective is ``Σ_r w_r² ‖a_r‖² + const``, ``W = diag(w²)``
(:mod:`proxy.stability`); with ``G = Y_(1) (B ⊙ C)``, ``Γ = BᵀB * CᵀC`` and the multiplier 1/μ, the problem is solved
by ridge regression, ``A(μ) = G (Γ + μW)⁻¹``, whose error

    err(μ) = ‖Y‖² − Σ f_r/s_r + Σ (f_r/s_r) (μ / (s_r + μ))²

(s, f: eigenvalues of ``W^-½ Γ W^-½`` and energies of G in their basis) increases with μ: the root of err(μ) = δ² is
wanted, or μ = 0 where even that misses δ². No eigenvalue is computed: with ``x = μ²``, every term of the sum is
concave in x, ``(μ/(s+μ))² = x/(s+√x)²``, and ``derr/dx = ⟨V M⁻¹, V⟩`` with ``V = A W``, ``M = Γ + μW``. So a Newton
step, from either side of the root, ends where err ≤ δ²: one Cholesky factorisation of M gives A, err and the step,
as in Moré and Sorensen's trust-region method (*Computing a trust region step*, SISC 4(3), 1983), and a second one,
at the new μ, a feasible update. At the root no update raises the objective, since the former A is feasible; short of
it one may. So a sweep that raises it, by that or by round-off, is taken back, once with the multipliers cut, which
brings them below their roots, before the correction ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp_products import Products
from proxy.cp_stack import CPStack, FactorTriple, gram_product, half_solved_rows, padding, regularized, solved_rows
from proxy.stability import Objective, balanced, energies

__all__ = ["Ridge", "epc"]


def epc(
    products: Products,
    start: CPStack,
    *,
    bounds: Float[Tensor, " n"],
    max_sweeps: Tensor,
    tolerance: float,
    objective: Objective,
) -> CPStack:
    """Lower the objective of every decomposition, keeping its error within its bound.

    Args:
        products: of the kernels, of unit norm each.
        start: decompositions whose errors are at most the bounds.
        bounds: δ, the largest relative errors allowed, ``(n,)``.
        max_sweeps: most sweeps over the three factors, ``(n,)``.
        tolerance: a kernel is done when a sweep lowers its objective by less than this fraction.
        objective: what is lowered.

    Returns:
        Balanced factors; their errors are at most the bounds up to round-off, their objectives at most the start's.

    Note:
        From a converged start without damping and with ``bounds`` equal to its errors there is hardly any room: a
        slack of 1 % on the error buys most of the stability.
    """
    factors = _balanced(start.factors)
    value = objective.value(balanced(factors)[1], products.lengths)
    square = start.errors.to(value) ** 2
    limit = bounds.to(value) ** 2
    ridge = Ridge(products, start.ranks, limit, objective, _first_guess(square, value))
    active = torch.ones_like(start.ranks, dtype=torch.bool)
    converged = torch.zeros_like(active)
    sweeps = start.sweeps.clone()
    refusals = torch.zeros_like(start.ranks)
    sweep = 0
    while bool(active.any()):
        sweep += 1
        found, found_square = ridge.sweep(factors)
        now = objective.value(balanced(found)[1], products.lengths)
        good = active & (now <= value) & (found_square <= limit + _ROUND_OFF[value.dtype] * (1 + limit))
        chosen = good[:, None, None]
        kept = [torch.where(chosen, new, old) for new, old in zip(found, factors, strict=True)]
        factors = (kept[0], kept[1], kept[2])
        square = torch.where(good, found_square, square)
        sweeps = sweeps + active
        refused = active & ~good  # NaN, too
        refusals = refusals + refused
        ridge.cut(refused)
        settled = (refused & (refusals > 1)) | (good & (value - now <= tolerance * now))
        value = torch.where(good, now, value)
        converged |= settled
        active = active & ~settled & (max_sweeps > sweep)
    return CPStack(factors, start.ranks, square.clamp_min(0).double().sqrt(), sweeps, converged)


_ROUND_OFF = {torch.float64: 1e-12, torch.float32: 2e-6}
"""Error² of a unit-norm tensor that the Gram-based formula cannot tell from zero."""

_RIDGE = {torch.float64: 1e-14, torch.float32: 1e-7}
"""Of the mean diagonal of Γ: what is added for a factorisation's sake."""


def _first_guess(square: Tensor, value: Tensor) -> Tensor:
    """The μ where damped ALS ends."""
    return 0.05 * square / value.clamp_min(torch.finfo(value.dtype).tiny)


def _balanced(factors: FactorTriple) -> FactorTriple:
    scales, _ = balanced(factors)
    return factors[0] * scales[0], factors[1] * scales[1], factors[2] * scales[2]


@dataclass
class Ridge:
    """The exact updates of one stack, with the μ of each mode from sweep to sweep."""

    products: Products
    ranks: Tensor
    limit: Tensor
    objective: Objective
    guess: Tensor

    def __post_init__(self) -> None:
        self._mu = [self.guess, self.guess, self.guess]

    def sweep(self, factors: FactorTriple) -> tuple[FactorTriple, Float[Tensor, " n"]]:
        """One exact update of each factor; returns balanced factors and their error²."""
        out, inn, space = factors
        out, _ = self.updated(0, self.products.for_out(inn, space), inn, space)
        inn, _ = self.updated(1, self.products.for_inn(out, space), out, space)
        space, square = self.updated(2, self.products.for_space(out, inn), out, inn)
        return _balanced((out, inn, space)), square

    def cut(self, which: Tensor) -> None:
        """Much smaller multipliers for some of the kernels: from below, Newton's steps end near the roots."""
        self._mu = [torch.where(which, mu / _CUT, mu) for mu in self._mu]

    def updated(
        self, mode: int, target: Float[Tensor, "n I R"], first: Tensor, second: Tensor
    ) -> tuple[Float[Tensor, "n I R"], Float[Tensor, " n"]]:
        """The most stable factor within the bound, the other two fixed; returns it with its error²."""
        gamma = gram_product(first, second)
        weights = self.objective.weights(energies(first), energies(second), (first.shape[1], second.shape[1]))
        pad = padding(self.ranks, target)
        mean = gamma.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) / self.ranks[:, None]
        floor = (mean * _RIDGE[gamma.dtype]).clamp_min(torch.finfo(gamma.dtype).tiny)
        mu = self._mu[mode]
        factor, square, slope = target, torch.full_like(mu, torch.inf), torch.ones_like(mu)
        for step in range(_STEPS):
            lower = regularized(gamma.clone, mu[:, None] * weights + pad, floor)
            factor = solved_rows(target, lower)
            explained = (factor * (2 * target - factor @ gamma)).sum((1, 2), dtype=torch.float64)
            square = (self.products.energy - explained).to(mu)
            if step == _STEPS - 1:
                break
            slope = (
                half_solved_rows(factor * weights[:, None], lower)
                .square()
                .sum((1, 2))
                .clamp_min(torch.finfo(mu.dtype).tiny)
            )
            del lower  # the next one is made while this would still be there, R² entries of a large rank
            # A hair below the root, so that round-off does not push the update out of the bound.
            aim = self.limit * (1 - _AIM[mu.dtype])
            mu = (mu * mu + (aim - square) / slope).clamp_min(0).sqrt()
        self._mu[mode] = mu
        return factor, square


_STEPS = 2
"""Factorisations an update: at the last sweep's μ, then after one Newton step, which is always feasible."""

_CUT = 1000.0
_AIM = {torch.float64: 1e-10, torch.float32: 1e-5}
