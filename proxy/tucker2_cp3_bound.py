"""Tucker-2 with a CP core under an error bound: the three ranks with the fewest parameters.

``min R_out T + R_in S + R (R_out + R_in + D)  s.t.  ‖Y − Ŷ‖ ≤ δ ‖Y‖``. At a given R this is what Algorithm 2 of Phan
et al. (ICASSP 2021, :mod:`proxy.low_rank_cp_bound`) solves, with the kernel positions' factor left alone: it finds
how to share the error between the two bases and the core. Over R the fewest parameters have one valley: the least
rank at which a plain CP meets the bound leaves the bases no slack, a very large one costs more than they save.

Shapes: T output channels, S input channels, D kernel positions, R rank of the CP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.bisection import least_that_fits
from proxy.kernel import Kernel
from proxy.low_rank_cp import Triple
from proxy.low_rank_cp_bound import least_ranks
from proxy.options import SolverOptions
from proxy.ranks import Ranks, maximum_ranks
from proxy.tucker2_cp3 import core_cps

__all__ = ["least_tucker2_cp3"]

_GROWTH = 1.15
"""From one R to the next. The valley is flat: 30 % beside its ground cost 10 % of the parameters (64×64 channels)."""


def least_tucker2_cp3(
    stack: Sequence[Kernel], bound: float, options: SolverOptions, error: Callable[[Ranks], float]
) -> Triple:
    """The ranks (R_out, R_in, R) with the fewest parameters found within the bound.

    Several groups get the largest ranks that any of them needs on its own: within the bound, not always the fewest.

    Args:
        stack: the kernels of a layer's groups, of one shape, each of unit norm or zero; not all zero.
        bound: δ, relative error.
        options: of the CP solver; the slack that its correction takes is set aside beforehand.
        error: ranks → the error that the method reaches at them, which has the last word.

    Returns:
        The ranks; the maximum where none within it meets the bound.
    """
    goal = bound / (1 + options.max_error_slack) if options.solver == "epc" else bound
    alone = [_least_of(kernel, goal, options) for kernel in stack if not kernel.is_zero]
    out, inn, rank = (max(of_mode) for of_mode in zip(*alone, strict=True))
    return _confirmed(stack[0].size, (out, inn, rank), bound, error)


def _least_of(kernel: Kernel, goal: float, options: SolverOptions) -> Triple:
    """The ranks of one kernel, by Algorithm 2 at one R after another until the parameters rise."""
    (most,) = maximum_ranks("cp3", kernel.size)
    least = least_that_fits(most, lambda rank: core_cps([(kernel, rank)], options)[0].error <= goal)
    best, rank = None, least
    while rank <= most:
        found = least_ranks(kernel, core_cps([(kernel, rank)], options)[0], goal, modes=(0, 1), max_sweeps=40)
        triple = None if found is None else (found.ranks[0], found.ranks[1], rank)
        if triple is not None and best is not None and _params(kernel.size, triple) >= _params(kernel.size, best):
            break
        best = triple or best
        rank = max(rank + 1, round(rank * _GROWTH))
    return best or (kernel.size[0], kernel.size[1], most)


def _params(size: Triple, ranks: Triple) -> int:
    return ranks[0] * size[0] + ranks[1] * size[1] + ranks[2] * (ranks[0] + ranks[1] + size[2])


def _confirmed(size: Triple, ranks: Triple, bound: float, error: Callable[[Ranks], float]) -> Triple:
    """Ranks raised by two per cent until the method meets the bound from its own start: one of them, else all three."""
    now = _within(size, ranks)
    top = _within(size, (size[0], size[1], size[0] * size[1] * size[2]))
    while now != top and error(now) > bound:
        out, inn, rank = now
        single = {
            _within(size, (_raised(out), inn, rank)),
            _within(size, (out, _raised(inn), rank)),
            _within(size, (out, inn, _raised(rank))),
        } - {now}
        for triple in sorted(single, key=lambda triple: _params(size, triple)):
            if error(triple) <= bound:
                return triple
        now = _within(size, (_raised(out), _raised(inn), _raised(rank)))
    return now


def _raised(rank: int) -> int:
    return max(rank + 1, round(rank * 1.02))


def _within(size: Triple, ranks: Triple) -> Triple:
    """No rank beyond its maximum."""
    (most_out, most_inn) = maximum_ranks("tucker2", size)
    out, inn = min(ranks[0], most_out), min(ranks[1], most_inn)
    (most,) = maximum_ranks("cp3", (out, inn, size[2]))
    return out, inn, min(ranks[2], most)
