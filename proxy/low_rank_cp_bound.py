"""CP decomposition with low-rank factor matrices under an error bound: Algorithm 2, the ranks are found.

Phan et al., *Canonical Polyadic Tensor Decomposition with Low-Rank Factor Matrices*, ICASSP 2021: ``min Σ_n r_n (I_n +
R)  s.t.  ‖Y − Ŷ‖ ≤ δ``, at a given CP rank R, from a decomposition within the bound.

The least r_n within the bound is known exactly at each visit, ``‖Y‖² − Σ_{i≤r} σ_i² ≤ δ²``; but whoever takes it
gives the first mode visited all the slack. Here the components of all three factors compete: of each it is known what
the error² rises by without it (its σ², :attr:`proxy.low_rank_cp.LowRankCP.energies`) and what it saves, ``I_n + R``
parameters. The best savings per error go first, as many as a share of the slack pays for; Algorithm 1 refits, which
wins some slack back; and so on. In the end single components go, best first, each if a refit brings the error back
below δ, until none can.

Shapes: sizes I₁ × I₂ × I₃, R the CP rank, r_n the rank of the factor of mode n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.cp3 import CP
from proxy.kernel import Kernel
from proxy.low_rank_cp import LowRankCP, Triple, fit, full_ranks

__all__ = ["least_ranks"]

_SHARE = 0.25
"""Of the slack, spent in one step."""

_REFIT, _LAST_REFIT = 4, 40
"""Most sweeps of Algorithm 1 after a step, and after a single component's removal."""


def least_ranks(
    kernel: Kernel,
    start: CP,
    bound: float,
    *,
    modes: Sequence[int] = (0, 1, 2),
    max_sweeps: int = 100,
    tolerance: float = 1e-5,
) -> LowRankCP | None:
    """Factors of the least ranks found within the bound.

    Args:
        kernel: any order-3 tensor, of unit norm, not zero.
        start: a CP decomposition; its rank R is kept.
        bound: δ, the largest relative error allowed.
        modes: whose ranks may fall; the others stay at ``min(I_n, R)``.
        max_sweeps: most sweeps of the fits at the start and at the end.
        tolerance: stop those when sweeps lower the error by less than this fraction of it each.

    Returns:
        The decomposition, its error at most the bound; None where not even full ranks meet it.
    """
    full = full_ranks(kernel.size, start.out.shape[1])
    now = fit(kernel, LowRankCP.of(start), full, max_sweeps=max_sweeps, tolerance=tolerance, enough=bound)
    if now.error > bound:
        return None
    spent = now.sweeps
    while True:  # every turn lowers a rank
        ranks = _cut(kernel.size, now, bound, modes)
        if ranks == now.ranks:
            break
        found = fit(kernel, now, ranks, max_sweeps=_REFIT, tolerance=0.0)
        spent += found.sweeps
        if found.error > bound:
            break
        now = found
    now, last = _by_single_components(kernel, now, bound, modes)
    done = fit(kernel, now, now.ranks, max_sweeps=max_sweeps, tolerance=tolerance)
    best = done if done.error <= now.error else now
    return replace(best, sweeps=spent + last + done.sweeps, converged=done.converged)


def _candidates(size: Triple, now: LowRankCP, modes: Sequence[int]) -> list[tuple[float, float, int]]:
    """(error² added per parameter saved, error² added, mode), the cheapest first; each mode's weakest come first."""
    rank = now.weights[0].shape[1]
    found = [
        (energy / (size[mode] + rank), energy, mode)
        for mode in modes
        for energy in now.energies[mode][1:].tolist()  # a factor keeps its last component
    ]
    return sorted(found)


def _cut(size: Triple, now: LowRankCP, bound: float, modes: Sequence[int]) -> Triple:
    """The ranks without the components that a share of the slack pays for."""
    room = _SHARE * (bound * bound - now.error * now.error)
    ranks = list(now.ranks)
    for _, energy, mode in _candidates(size, now, modes):
        room -= energy
        if room < 0:
            break
        ranks[mode] -= 1
    return ranks[0], ranks[1], ranks[2]


def _by_single_components(kernel: Kernel, now: LowRankCP, bound: float, modes: Sequence[int]) -> tuple[LowRankCP, int]:
    """Components taken one by one, and the sweeps it took; a mode that failed once has failed for good."""
    open_modes, sweeps = set(modes), 0
    while open_modes:
        candidates = _candidates(kernel.size, now, sorted(open_modes))
        if not candidates:
            break
        mode = candidates[0][2]
        one, two, three = (rank - (other == mode) for other, rank in enumerate(now.ranks))
        found = fit(kernel, now, (one, two, three), max_sweeps=_LAST_REFIT, tolerance=1e-5, enough=bound)
        sweeps += found.sweeps
        if found.error <= bound:
            now = found
        else:
            open_modes.discard(mode)
    return now, sweeps
