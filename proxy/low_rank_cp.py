r"""CP decomposition whose factor matrices have low rank: each one is ``A_n = U_n V_n``.

Phan et al., *Canonical Polyadic Tensor Decomposition with Low-Rank Factor Matrices*, ICASSP 2021: Algorithm 1 fits at
given ranks, Algorithm 2 (:mod:`proxy.low_rank_cp_bound`) finds the ranks. A convolution kernel of this form is a
Tucker-2 decomposition whose core is a CP (TKD-CPD).

Shapes: a tensor of sizes I₁ × I₂ × I₃, R its CP rank, r_n the rank of the factor of mode n; ``U_n`` (I_n, r_n) with
orthonormal columns, ``V_n`` (r_n, R).

The update of one factor is exact. With ``G = Y_(n) Z``, Z the Khatri–Rao product of the other two and ``Γ = ZᵀZ``,

    ‖Y_(n) − A Zᵀ‖² = ‖Y‖² − ‖H‖² + ‖H − A Γ^{1/2}‖²,   H = G Γ^{−1/2} = P diag(σ) Wᵀ,

so by Eckart–Young the best A of rank r is ``P_r diag(σ_r) W_rᵀ Γ^{−1/2}``: ``U_n = P_r``, ``V_n = P_rᵀ H Γ^{−1/2}``,
and the error is ``‖Y‖² − Σ_{i≤r} σ_i²`` with nothing reconstructed. Only ``σ`` and P are needed of H, which are the
same for ``H Q`` with ``Γ = Q diag(s) Qᵀ``; directions of Γ below round-off are left out, which is exact for a
singular Γ, since the rows of G lie in its range.

Only two products of a sweep are large: Y is contracted with the bases first, ``Y ×₃ U₃ᵀ`` serving modes 1 and 2 and
``Y ×₁ U₁ᵀ`` mode 3, and the Khatri–Rao products are those of the small V.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.cp3 import CP
from proxy.cp_products import Products
from proxy.cp_stack import CPStack
from proxy.epc import epc
from proxy.factors import khatri_rao
from proxy.kernel import Kernel
from proxy.stability import Objective

__all__ = ["LowRankCP", "Triple", "corrected", "fit", "full_ranks"]

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LowRankCP:
    """``A_n = U_n V_n`` for the three modes, with the solver's account of them.

    Args:
        bases: ``U_n`` (I_n, r_n), orthonormal columns.
        weights: ``V_n`` (r_n, R).
        error: relative to a tensor of unit norm.
        sweeps: sweeps over the three modes.
        converged: the error stopped falling before the sweeps ran out.
        energies: per mode, what the error² would rise by if one component of its factor went: σ², the strongest
            first, the other two factors as they are.
    """

    bases: tuple[Tensor, Tensor, Tensor]
    weights: tuple[Tensor, Tensor, Tensor]
    error: float = inf
    sweeps: int = 0
    converged: bool = False
    energies: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, start: CP) -> LowRankCP:
        """A CP decomposition in this form, nothing cut: ``r_n = min(I_n, R)``, by QR in double precision."""
        pairs = [torch.linalg.qr(factor.double()) for factor in (start.out, start.inn, start.space)]
        bases, weights = ([pair[i] for pair in pairs] for i in (0, 1))
        return cls(_triple(bases), _triple(weights), start.error)

    @property
    def ranks(self) -> Triple:
        """(r₁, r₂, r₃)."""
        one, two, three = (basis.shape[1] for basis in self.bases)
        return one, two, three

    @property
    def params(self) -> int:
        """``Σ_n r_n (I_n + R)``, the objective of paper and code."""
        return sum(basis.numel() + weight.numel() for basis, weight in zip(self.bases, self.weights, strict=True))

    @property
    def cp(self) -> CP:
        """The same tensor as a plain CP decomposition of rank R."""
        out, inn, space = (basis @ weight for basis, weight in zip(self.bases, self.weights, strict=True))
        return CP(out, inn, space, self.error, self.sweeps, self.converged)


def full_ranks(size: Triple, rank: int) -> Triple:
    """``min(I_n, R)``: from there on, the factors are ordinary ones."""
    one, two, three = (min(length, rank) for length in size)
    return one, two, three


def fit(
    kernel: Kernel,
    start: LowRankCP,
    ranks: Triple,
    *,
    max_sweeps: int,
    tolerance: float,
    enough: float = 0.0,
) -> LowRankCP:
    """Algorithm 1: alternate the exact updates at given ranks until the error stops falling.

    The error never rises from one sweep to the next: every update is the global minimiser of its factor over its
    rank, and the former factor is feasible. (The first sweep may end above the start's error, whose ranks may
    have been larger.)

    Args:
        kernel: any order-3 tensor, of unit norm.
        start: where to begin; only the second and third factor of it matter.
        ranks: (r₁, r₂, r₃), each at most ``min(I_n, R)``.
        max_sweeps: most sweeps over the three modes, at least one.
        tolerance: stop when sweeps lower the error by less than this fraction of it each.
        enough: stop as soon as the error is at most this.
    """
    best = replace(start, bases=_like(kernel, start.bases), weights=_like(kernel, start.weights), error=inf)
    errors: list[float] = []
    for sweeps in range(1, max_sweeps + 1):
        now = _sweep(kernel, best, ranks)
        if not now.error <= best.error:  # round-off at the bottom, or NaN: keep what we had
            return replace(best, sweeps=sweeps, converged=True)
        best = now
        errors.append(now.error)
        if now.error <= max(enough, _EXACT) or _stalled(errors, tolerance):
            return replace(best, sweeps=sweeps, converged=True)
    return replace(best, sweeps=max_sweeps, converged=False)


_EXACT = 1e-7
"""Relative error below which a decomposition counts as exact: float32 weights carry no more."""

_PATIENCE = 3
"""Sweeps over which a stall must last."""


def _stalled(errors: list[float], tolerance: float) -> bool:
    if len(errors) <= _PATIENCE:
        return False
    return errors[-1 - _PATIENCE] - errors[-1] < _PATIENCE * tolerance * errors[-1]


def _sweep(kernel: Kernel, now: LowRankCP, ranks: Triple) -> LowRankCP:
    tensor = kernel.tensor
    one, two, three = now.bases
    _, v_two, v_three = now.weights
    v_two, v_three = _unit(v_two), _unit(v_three)

    shared = torch.einsum("ijk,kc->ijc", tensor, three)  # large
    seen = torch.einsum("ijc,jb->ibc", shared, two)
    one, v_one, energies_one = _updated(seen, v_two, v_three, ranks[0])
    v_one = _unit(v_one)

    seen = torch.einsum("ijc,ia->jac", shared, one)
    two, v_two, energies_two = _updated(seen, v_one, v_three, ranks[1])
    v_two = _unit(v_two)

    shared = torch.einsum("ijk,ia->ajk", tensor, one)  # large
    seen = torch.einsum("ajk,jb->kab", shared, two)
    three, v_three, energies_three = _updated(seen, v_one, v_two, ranks[2])

    square = 1 - float(energies_three[: ranks[2]].sum())
    energies = tuple(
        values[:rank] for values, rank in zip((energies_one, energies_two, energies_three), ranks, strict=True)
    )
    return LowRankCP(
        (one, two, three), (v_one, v_two, v_three), error=sqrt(max(square, 0.0)), sweeps=1, energies=energies
    )


def _updated(
    seen: Float[Tensor, "I a b"], first: Float[Tensor, "a R"], second: Float[Tensor, "b R"], rank: int
) -> tuple[Float[Tensor, "I r"], Float[Tensor, "r R"], Float[Tensor, " K"]]:
    """The exact update of one factor: its U and V, and all σ², strongest first.

    Args:
        seen: the tensor as the other two factors' bases see it, this mode first.
        first: V of the first of the other two.
        second: V of the second.
        rank: r, at most min(I, R).
    """
    target = (seen.flatten(1) @ khatri_rao(first, second)).double()
    wide_first, wide_second = first.double(), second.double()
    gamma = (wide_first.mT @ wide_first) * (wide_second.mT @ wide_second)
    values, vectors = torch.linalg.eigh(gamma)
    kept = values > values[-1] * _SINGULAR[seen.dtype]
    scale = torch.where(kept, values, torch.ones_like(values)).rsqrt() * kept
    half = (target @ vectors) * scale  # H Q
    if half.shape[0] <= half.shape[1]:  # the smaller Gram matrix is cheaper than the SVD, and exact enough for σ²
        squares, left = torch.linalg.eigh(half @ half.mT)
        squares, left = squares.flip(0).clamp_min(0), left.flip(1)
    else:
        left, sigma, _ = torch.linalg.svd(half, full_matrices=False)
        squares = sigma.square()
    basis = left[:, :rank]
    weight = ((basis.mT @ half) * scale) @ vectors.mT
    return basis.to(seen), weight.to(seen), squares


_SINGULAR = {torch.float64: 1e-13, torch.float32: 1e-8}
"""Eigenvalues of Γ, relative to the largest, whose directions G carries nothing but round-off of."""


def _unit(weight: Float[Tensor, "r R"]) -> Float[Tensor, "r R"]:
    """Columns of unit norm, which spares Γ its worst condition; the next update finds the sizes again."""
    norm = torch.linalg.vector_norm(weight, dim=0)
    return weight / torch.where(norm > 0, norm, torch.ones_like(norm))


def corrected(
    kernel: Kernel, start: LowRankCP, *, bound: float, max_sweeps: int, tolerance: float, objective: Objective
) -> LowRankCP:
    """Error-preserving correction of the V, the U as they are.

    The bases are orthonormal: with ``core = Y ×₁ U₁ᵀ ×₂ U₂ᵀ ×₃ U₃ᵀ`` the error² is exactly ``ε² + ‖core − [[V₁, V₂,
    V₃]]‖²``, ``ε² = ‖Y‖² − ‖core‖²``. So the V are a CP decomposition of the small core, to be corrected within
    ``δ_core² = δ² − ε²`` (:mod:`proxy.epc`).

    Args:
        kernel: the tensor, of unit norm.
        start: a decomposition whose error is at most ``bound``.
        bound: δ, the largest error allowed.
        max_sweeps: most sweeps of the correction.
        tolerance: stop when a sweep lowers the objective by less than this fraction of it.
        objective: what is lowered.

    Returns:
        Balanced V; the error is that of the whole.
    """
    core = Kernel(torch.einsum("ijk,ia,jb,kc->abc", kernel.tensor, *start.bases))
    if core.is_zero:
        return start
    outside = max(1 - core.scale**2, 0.0)
    one, two, three = (weight.to(core.tensor)[None] for weight in start.weights)
    inside = sqrt(max(start.error**2 - outside, 0.0)) / core.scale
    room = sqrt(max(bound**2 - outside, 0.0)) / core.scale
    rank = torch.tensor([one.shape[2]], device=one.device)
    stack = CPStack(
        (one, two, three / core.scale),
        ranks=rank,
        errors=torch.tensor([inside], dtype=torch.float64, device=one.device),
        sweeps=torch.zeros_like(rank),
        converged=torch.zeros_like(rank, dtype=torch.bool),
    )
    found = epc(
        Products(core.tensor[None], one.shape[2]),
        stack,
        bounds=torch.tensor([room], dtype=torch.float64, device=one.device),
        max_sweeps=torch.full_like(rank, max_sweeps),
        tolerance=tolerance,
        objective=objective,
    )
    share = core.scale ** (1 / 3)
    weights = _triple([(tensor[0] * share).to(kernel.tensor) for tensor in found.factors])
    square = outside + (core.scale * float(found.errors[0])) ** 2
    sweeps = start.sweeps + int(found.sweeps[0])
    return replace(start, weights=weights, error=sqrt(square), sweeps=sweeps, energies=())


def _like(kernel: Kernel, tensors: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """In the type and on the device of the kernel."""
    one, two, three = (tensor.to(kernel.tensor) for tensor in tensors)
    return one, two, three


def _triple(tensors: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = tensors
    return one, two, three
