r"""CP decompositions of a stack of T×S×D kernels by damped, extrapolated alternating least squares.

Shapes: n kernels, T output channels, S input channels, D kernel positions, R rank; factors A (n, T, R), B (n, S,
R), C (n, D, R).

One sweep. With two factors fixed, the third solves ``A (Γ + λ diag(w²)) = G``, ``G = Y_(1) (B ⊙ C)``, ``Γ = BᵀB *
CᵀC`` (Kolda & Bader 2009, §3.4), from the two products of :mod:`proxy.cp_products`. The error needs no
reconstruction: with unit ‖Y‖, ``‖Y − Ŷ‖² = 1 − 2⟨C, G_C⟩ + ⟨C Γ, C⟩``.

Damping. ALS lowers the error by letting components grow that cancel each other (degeneracy), and crawls while it
does so. The term ``λ w²`` is the gradient of ``λ · ss`` (:mod:`proxy.stability`), with ``λ = η e²/ss`` renewed every
sweep: a stationary point of ``log e² + η log ss``, where one per cent less error is not bought with more than 2/η =
40 per cent more sensitivity. It has the form of the correction's own optimum (:mod:`proxy.epc`), so what is left to
correct is little. Seen on the 54 kernels of ResNet-56 at a 3× cut, 300 sweeps and the correction, η = 0.05 against
0: mean error 0.380 against 0.385, median ss/‖Y‖² 465 against 4,300. ``λ w²`` is kept below a fiftieth of the average
component's diagonal of Γ: at small ranks, where e² is large, the best of that objective would be no component at all.

Extrapolation. A sweep maps (B, C) to (B', C'); the next one starts at 2(B', C') minus the one before, which halves
the sweeps: a mode of the error that a sweep shrinks by the factor ρ shrinks by √ρ, whatever ρ is (the roots of z² −
2ρz + ρ). Where the objective rises all the same the step is halved for that kernel and grows back slowly. Unlike in
Ang, Cohen, Gillis, Hien (*Accelerating block coordinate descent for nonnegative tensor factorization*, NLAA 2021), A
is not extrapolated and no sweep is taken back: the updates descend from wherever they start, and the best point
seen is what is returned. Seen on the same kernels: as low after 25 sweeps as plain ALS after 75; extrapolating all
three factors needs steps below a half and gets there after 30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from proxy.cp_products import Products
from proxy.cp_stack import CPStack, FactorTriple, gram_product, padding, regularized, solved_rows
from proxy.stability import Objective, balanced, energies

__all__ = ["Damping", "als"]


@dataclass(frozen=True)
class Damping:
    """How much instability an error is worth.

    Args:
        objective: the measure of instability.
        strength: η; 0 is plain ALS.
    """

    objective: Objective
    strength: float = 0.05


_SHARE = 0.02
"""Most that the damping may be of the average component's diagonal of Γ."""


def als(
    products: Products,
    start: FactorTriple,
    ranks: Tensor,
    *,
    max_sweeps: Tensor,
    tolerance: float,
    damping: Damping,
) -> CPStack:
    """ALS sweeps until the error stops falling, for each kernel on its own.

    Args:
        products: of the kernels, of unit norm each.
        start: where to begin; columns beyond a kernel's rank are zero.
        ranks: of each kernel, ``(n,)``.
        max_sweeps: most sweeps over the three factors, ``(n,)``.
        tolerance: a kernel is done when its sweeps lower the error by less than this fraction of it each.
        damping: what is paid for stability.

    Returns:
        The best factors seen, by error and damping together.

    Note:
        Without damping, where a kernel has no best approximation of its rank, norms grow slowly for ever and the
        sweeps run out.
    """
    state = _State(products, start, ranks, damping)
    done: list[tuple[Tensor, CPStack]] = []
    here = torch.arange(len(ranks), device=ranks.device)
    active = torch.ones_like(here, dtype=torch.bool)
    sweep = 0
    while True:
        sweep += 1
        state.sweep()
        stalled = state.stalled(tolerance)
        over = active & (stalled | (max_sweeps[here] <= sweep))
        if not bool(over.any()):
            continue
        done.append((here[over], state.answer(over, sweep, stalled)))
        active = active & ~over
        if not bool(active.any()):
            break
        if int(active.sum()) <= _WORTH_KEEPING * len(here):  # moving the rest together costs a copy of its kernels
            here, state, active = here[active], state.kept(active), active[active]
    return _gathered(done)


_WORTH_KEEPING = 0.75


def _gathered(parts: list[tuple[Tensor, CPStack]]) -> CPStack:
    """The kernels' answers in their own order again."""
    order = torch.cat([where for where, _ in parts]).argsort()

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors)[order] if len(tensors) > 1 else tensors[0]

    stacks = [stack for _, stack in parts]
    return CPStack(
        (
            joined([stack.factors[0] for stack in stacks]),
            joined([stack.factors[1] for stack in stacks]),
            joined([stack.factors[2] for stack in stacks]),
        ),
        ranks=joined([stack.ranks for stack in stacks]),
        errors=joined([stack.errors for stack in stacks]),
        sweeps=joined([stack.sweeps for stack in stacks]),
        converged=joined([stack.converged for stack in stacks]),
    )


_PATIENCE = 5
"""Sweeps over which a stall must last: one extrapolated sweep in between may gain nothing by chance."""

_EXACT = {torch.float32: 1e-6, torch.float64: 1e-14}
"""Error² below which a decomposition counts as exact: what the error's formula cannot tell from zero."""

_RIDGE = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Of the mean diagonal of Γ: keeps singular problems solvable at round-off."""

_LONGEST, _GROWTH, _CUT = 1.0, 1.1, 0.5
"""Of the extrapolation's step."""


@dataclass(eq=False)
class _Point:
    """The best of a kernel so far, and what it is judged by."""

    factors: FactorTriple
    height: Tensor
    square: Tensor


class _State:
    """A stack in the middle of its sweeps."""

    def __init__(self, products: Products, start: FactorTriple, ranks: Tensor, damping: Damping) -> None:
        self.products, self.ranks, self.damping = products, ranks, damping
        count, like = len(ranks), start[0]
        self.pad = padding(ranks, like)
        scales, _ = balanced(start)
        at = (start[0] * scales[0], start[1] * scales[1], start[2] * scales[2])
        self.at = at[1:]
        self.last = at[1:]
        self.lam = like.new_zeros(count)
        self.step = like.new_full((count,), _LONGEST)
        self.height = like.new_full((count,), inf)
        self.best = _Point(at, like.new_full((count,), inf), like.new_full((count,), 1.0))
        self.history: list[Tensor] = []

    def sweep(self) -> None:
        """One sweep from the extrapolated (B, C), and what follows from whether it rose."""
        inn, space = self.at
        out = solved_rows(self.products.for_out(inn, space), self._factor(inn, space))
        inn, target = self._rest(out, space)
        space = solved_rows(target, self._factor(out, inn))
        gamma = gram_product(out, inn)
        explained = (space * (2 * target - space @ gamma)).sum((1, 2), dtype=torch.float64)
        self._judge((out, inn, space), (self.products.energy - explained).to(space.dtype))

    def _rest(self, out: Tensor, space: Tensor) -> tuple[Tensor, Tensor]:
        """B, and C's right-hand side."""
        lower = self._factor(out, space)
        return self.products.for_rest(out, space, lambda rows: solved_rows(rows, lower))

    def _factor(self, first: Tensor, second: Tensor) -> Tensor:
        """Cholesky factor of one factor's damped problem, from the other two."""
        one, two = energies(first), energies(second)
        weights = self.damping.objective.weights(one, two, (first.shape[1], second.shape[1]))
        mean = (one * two).sum(1) / self.ranks  # of Γ's diagonal
        floor = (mean * _RIDGE[mean.dtype]).clamp_min(torch.finfo(mean.dtype).tiny)
        ridge = self.lam[:, None] * weights + self.pad
        return regularized(lambda: gram_product(first, second), ridge, floor[:, None])

    def _judge(self, found: FactorTriple, square: Tensor) -> None:
        """Renew best point, step, damping and where the next sweep starts."""
        scales, sizes = balanced(found)
        lengths = self.products.lengths
        value = self.damping.objective.value(sizes, lengths)
        square = square.clamp_min(_EXACT[square.dtype])
        height = square.log()
        if self.damping.strength:
            height = height + self.damping.strength * value.clamp_min(torch.finfo(value.dtype).tiny).log()
            limit = _SHARE * self.damping.objective.damping_limit(value, lengths, self.ranks)
            self.lam = torch.minimum(self.damping.strength * square / value.clamp_min(1e-30), limit)
        fell = height <= self.height  # false for NaN
        self.step = torch.where(fell, (self.step * _GROWTH).clamp_max(_LONGEST), self.step * _CUT)
        now = (found[0] * scales[0], found[1] * scales[1], found[2] * scales[2])
        self._remember(now, height, square)
        ahead = 1 + self.step[:, None, None]
        before = (self.last[0] * scales[1], self.last[1] * scales[2])  # the same scales: a step, not a rescaling
        self.at = (torch.lerp(before[0], now[1], ahead), torch.lerp(before[1], now[2], ahead))
        self.last, self.height = now[1:], height
        self._recover(~torch.isfinite(height))

    def _remember(self, factors: FactorTriple, height: Tensor, square: Tensor) -> None:
        better = height < self.best.height
        if bool(better.all()):
            self.best = _Point(factors, height, square)
        else:
            chosen = better[:, None, None]
            kept = [torch.where(chosen, new, old) for new, old in zip(factors, self.best.factors, strict=True)]
            self.best = _Point(
                (kept[0], kept[1], kept[2]),
                torch.where(better, height, self.best.height),
                torch.where(better, square, self.best.square),
            )
        self.history.append(self.best.height)
        del self.history[: -_PATIENCE - 1]

    def _recover(self, lost: Tensor) -> None:
        """Back to the best point where a sweep left the numbers."""
        if not bool(lost.any()):
            return
        chosen = lost[:, None, None]
        best = self.best.factors[1:]
        self.at = (torch.where(chosen, best[0], self.at[0]), torch.where(chosen, best[1], self.at[1]))
        self.last = (torch.where(chosen, best[0], self.last[0]), torch.where(chosen, best[1], self.last[1]))
        self.lam = torch.where(lost, torch.zeros_like(self.lam), self.lam)
        self.height = torch.where(lost, torch.full_like(self.height, inf), self.height)

    def stalled(self, tolerance: float) -> Tensor:
        """Which kernels gain no more, or are exact; a gain of stability counts as it does in the objective."""
        exact = self.best.square <= _EXACT[self.best.square.dtype]
        if len(self.history) <= _PATIENCE:
            return exact
        gained = self.history[0] - self.history[-1]  # of log e²: twice the relative gain of the error
        return exact | (gained < 2 * _PATIENCE * tolerance)

    def answer(self, which: Tensor, sweep: int, stalled: Tensor) -> CPStack:
        """What was found for some of the kernels."""
        factors = [factor[which] for factor in self.best.factors]
        return CPStack(
            (factors[0], factors[1], factors[2]),
            ranks=self.ranks[which],
            errors=self.best.square[which].double().sqrt(),
            sweeps=torch.full_like(self.ranks[which], sweep),
            converged=stalled[which],
        )

    def kept(self, which: Tensor) -> _State:
        """The same, with some of the kernels only."""
        if bool(which.all()):
            return self
        other = object.__new__(_State)
        factors = self.best.factors
        other.products, other.damping = self.products.selected(which), self.damping
        other.ranks, other.pad, other.lam = self.ranks[which], self.pad[which], self.lam[which]
        other.step, other.height = self.step[which], self.height[which]
        other.at = (self.at[0][which], self.at[1][which])
        other.last = (self.last[0][which], self.last[1][which])
        other.best = replace(
            self.best,
            factors=(factors[0][which], factors[1][which], factors[2][which]),
            height=self.best.height[which],
            square=self.best.square[which],
        )
        other.history = [height[which] for height in self.history]
        return other
