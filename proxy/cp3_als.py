"""CP decomposition of a T×S×D kernel by alternating least squares with extrapolation.

Shapes: T output channels, S input channels, D kernel positions, R rank; factors A (T, R), B (S, R), C (D, R).

One sweep. With two factors fixed, the third solves ``A Γ = G``, ``G = Y_(1) (B ⊙ C)``, ``Γ = BᵀB * CᵀC`` (Kolda &
Bader 2009, §3.4). Only two products of a sweep are large (T·S·D·R): G for A, and ``P = Y_(1)ᵀ A``, from which
both remaining right-hand sides follow by cheap contractions: G_B = Σ_d P_d * c_d, and then G_C = Σ_s P_s *
b_s. The error needs no reconstruction: with unit ‖Y‖, ``‖Y − Ŷ‖² = 1 − 2⟨C, G_C⟩ + ⟨C Γ, C⟩``.

Extrapolation. After each update a factor is moved on by β times its last step; β grows while the error falls
and is cut, and the sweep taken back, when it rises (Ang, Cohen, Gillis, Hien, *Accelerating block coordinate
descent for nonnegative tensor factorization*, NLAA 2021). On ResNet kernels this halves the sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from proxy.factors import khatri_rao
from proxy.kernel import Kernel

__all__ = ["CP", "als", "initial"]


@dataclass(frozen=True, eq=False)
class CP:
    """Three factors with the solver's account of them; the error is relative to a tensor of unit norm."""

    out: Float[Tensor, "T R"]
    inn: Float[Tensor, "S R"]
    space: Float[Tensor, "D R"]
    error: float = inf
    sweeps: int = 0
    converged: bool = False

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, B, C."""
        return self.out, self.inn, self.space


_JITTER = 0.01
"""Relative size of the seeded noise on the start: enough to leave the saddle that an orthogonal start sits on."""


def initial(kernel: Kernel, rank: int, seed: int) -> CP:
    """The strongest terms of the kernel's slice-wise SVDs, with a little seeded noise.

    :attr:`Kernel.slice_svds` writes the kernel as D·min(T, S) orthogonal rank-one terms; the R strongest are
    the best start of that form: never degenerate (their energies add up to at most ‖Y‖²), with a useful error
    from the first sweep, and defined for every rank below break-even, also above T and S, where leading
    singular vectors run out. They are a stationary point of the updates of A and B, hence the noise.
    """
    left, values, right, directions = kernel.slice_svds
    terms = values.shape[1]
    order = values.flatten().argsort(descending=True, stable=True)[:rank]
    direction, term = order // terms, order % terms
    strength = values.flatten()[order]
    factors = [
        left[direction, :, term].mT * strength,
        right[direction, term, :].mT,
        directions[:, direction],
    ]
    surplus = rank - len(order)
    noise = torch.Generator().manual_seed(seed)
    started = []
    for index, factor in enumerate(factors):
        jitter = torch.randn(len(factor), rank, generator=noise, dtype=torch.float64).to(factor) / sqrt(len(factor))
        size = torch.nn.functional.pad(strength if index == 0 else torch.ones_like(strength), (0, surplus))
        weak = size.new_full((), float(strength[-1]) if index == 0 else 1.0)
        full = torch.nn.functional.pad(factor, (0, surplus))
        started.append(full + jitter * torch.where(size > 0, _JITTER * size, weak))
    return CP(started[0], started[1], started[2])


def als(kernel: Kernel, start: CP, *, max_sweeps: int, tolerance: float) -> CP:
    """ALS sweeps until the error stops falling.

    Args:
        kernel: the tensor, of unit norm.
        start: where to begin.
        max_sweeps: most sweeps over the three factors.
        tolerance: stop when sweeps lower the error by less than this fraction of it each.

    Returns:
        The factors of the best sweep.

    Note:
        Where the kernel has no best approximation of this rank, norms grow slowly for ever and the sweeps run
        out: that is the degeneracy that :mod:`proxy.epc` mends.
    """
    unfolded = kernel.tensor.flatten(1)
    step = _Steps()
    best, last, ahead = start, None, (_unit(start.inn), start.space)
    errors: list[float] = []
    for sweeps in range(1, max_sweeps + 1):
        now, plain = _sweep(unfolded, kernel.size, ahead, last, step.size)
        if now.error > best.error:  # take the sweep back, then one without extrapolation
            if step.size == 0:
                return replace(best, sweeps=sweeps, converged=True)
            step.cut()
            last, ahead = None, (best.inn, best.space)
            continue
        best, ahead = now, (now.inn, _moved(now.space, last[2] if last else None, step.size))
        last = plain
        step.grow()
        errors.append(now.error)
        if now.error <= _EXACT or _stalled(errors, tolerance):
            return replace(best, sweeps=sweeps, converged=True)
    return replace(best, sweeps=max_sweeps, converged=False)


_PATIENCE = 4
"""Sweeps over which a stall must last: one extrapolated sweep in between may gain nothing by chance."""


def _stalled(errors: list[float], tolerance: float) -> bool:
    if len(errors) <= _PATIENCE:
        return False
    return errors[-1 - _PATIENCE] - errors[-1] < _PATIENCE * tolerance * errors[-1]


_EXACT = 1e-7
"""Relative error below which a decomposition counts as exact: float32 weights carry no more."""


class _Steps:
    """The length β of the extrapolation; growth, ceiling and cut as in Ang et al., §3.3."""

    def __init__(self) -> None:
        self.size, self._ceiling, self._resume = 0.5, 1.0, 0.5

    def grow(self) -> None:
        self._ceiling = min(1.0, self._ceiling * 1.05)
        self.size = min(self._ceiling, self._resume * 1.1)
        self._resume = self.size

    def cut(self) -> None:
        self._ceiling, self._resume = self._resume, self._resume / 1.5
        self.size = 0.0  # one plain sweep, then on with the smaller step


def _sweep(
    unfolded: Float[Tensor, "T S*D"],
    size: tuple[int, int, int],
    ahead: tuple[Tensor, Tensor],
    last: tuple[Tensor, Tensor, Tensor] | None,
    step: float,
) -> tuple[CP, tuple[Tensor, Tensor, Tensor]]:
    """One sweep from the extrapolated (B, C).

    Returns:
        The factors that the error belongs to (A and B moved on, C their least-squares partner), and the solutions
        before they were moved on, from which the next sweep takes its steps.
    """
    inn, space = ahead[0], _unit(ahead[1])
    gram_space = space.mT @ space
    out = _unit(_solved(unfolded @ khatri_rao(inn, space), (inn.mT @ inn) * gram_space))
    out_ahead = _moved(out, last[0] if last else None, step)
    shared = (unfolded.mT @ out_ahead).view(size[1], size[2], -1)
    gram_out = out_ahead.mT @ out_ahead
    inn = _unit(_solved((shared * space).sum(1), gram_out * gram_space))
    inn_ahead = _moved(inn, last[1] if last else None, step)
    target = (shared * inn_ahead[:, None, :]).sum(0)
    gamma = gram_out * (inn_ahead.mT @ inn_ahead)
    space = _solved(target, gamma)
    square = 1 - float(2 * (space * target).sum() - ((space @ gamma) * space).sum())
    return CP(out_ahead, inn_ahead, space, sqrt(max(square, 0.0))), (out, inn, space)


def _moved(factor: Tensor, previous: Tensor | None, step: float) -> Tensor:
    return factor if previous is None or step == 0 else torch.lerp(previous, factor, 1 + step)


def _unit(factor: Tensor) -> Tensor:
    """Columns of unit norm; a zero column stays zero."""
    norm = torch.linalg.vector_norm(factor, dim=0)
    return factor / torch.where(norm > 0, norm, torch.ones_like(norm))


def _solved(target: Float[Tensor, "I R"], gamma: Float[Tensor, "R R"]) -> Float[Tensor, "I R"]:
    """``X Γ = G`` for a Gram matrix that may be singular: Cholesky with a ridge at round-off, more only if it fails."""
    diagonal = gamma.diagonal()
    ridge = float(diagonal.mean()) * (1e-12 if gamma.dtype == torch.float64 else 1e-6)
    for _ in range(6):
        lower, info = torch.linalg.cholesky_ex(gamma + torch.diag_embed(torch.full_like(diagonal, max(ridge, 1e-30))))
        if not int(info):
            solution: Tensor = torch.cholesky_solve(target.mT, lower)
            return solution.mT
        ridge *= 100
    least: Tensor = target @ torch.linalg.pinv(gamma, hermitian=True)
    return least
