"""Strong allocations: choices computed from the profile alone, before anything was measured.

Both are one-parameter families that grow with their parameter; the largest member within the budget is found
exactly, by bisection over the finitely many values at which the family changes. What is left of the budget then
goes, one option at a time, to the site that the family's own idea favours next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from service.search.chains import Chains, Levels, Positions
from service.search.feasibility import affordable
from service.search.frontier import frontier
from service.search.projection import fill
from service.search.space import SearchSpace

Value = TypeVar("Value")

__all__ = ["at_error", "at_fraction", "equal_error", "uniform"]


def uniform(space: SearchSpace, limits: Mapping[str, int]) -> Positions:
    """The same share of its dense macs for every site; the rest to the site with the smallest share.

    By every site's preferred method, as far as the budget has room for it.
    """
    chains = space.under(affordable(space, space.preferred, limits))
    macs = chains.costs["macs"]
    share = macs / macs[:, -1:]
    values = [Fraction(int(m), int(row[-1])) for row in macs for m in row]
    levels = _largest(chains, limits, sorted(set(values)), lambda value: at_fraction(chains, value))
    return chains.positions(fill(chains, levels, limits, lambda at: share[chains.rows, at]))


def equal_error(space: SearchSpace, limits: Mapping[str, int]) -> Positions:
    """The same bound on every site's relative error, by whatever method; the rest to the largest error."""
    chains = frontier(space, limits)
    bounds = sorted({float(error) for error in chains.errors.ravel()}, reverse=True)
    levels = _largest(chains, limits, bounds, lambda bound: at_error(chains, bound))
    return chains.positions(fill(chains, levels, limits, lambda at: -chains.error(at)))


def at_fraction(chains: Chains, fraction: Fraction) -> Levels:
    """Every site's largest option within ``fraction`` of its dense macs; its cheapest where none is."""
    found = []
    for row, top in zip(chains.costs["macs"].tolist(), chains.top, strict=True):
        within = (level for level in range(top + 1) if row[level] <= fraction * row[top])
        found.append(max(within, default=0))
    return np.array(found, dtype=np.int64)


def at_error(chains: Chains, bound: float) -> Levels:
    """Every site's cheapest option with a relative error of at most ``bound``."""
    levels: Levels = np.argmax(chains.errors <= bound, axis=1)
    return levels


def _largest(
    chains: Chains,
    limits: Mapping[str, int],
    values: Sequence[Value],
    member: Callable[[Value], Levels],
) -> Levels:
    """The last of ``values``, in growing order, whose member fits; the cheapest choice where none does."""
    low, high = -1, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chains.fits(member(values[middle]), limits) else (low, middle)
    return np.zeros(len(chains), dtype=np.int64) if low < 0 else member(values[low])
