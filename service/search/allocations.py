"""Strong allocations: choices computed from the profile alone, before anything was measured.

Both are one-parameter families that grow with their parameter; the largest member within the budget is found
exactly, by bisection over the finitely many values at which the family changes. What is left of the budget then
goes, one option at a time, to the site that the family's own idea favours next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from ranksearch.contracts.errors import BudgetInfeasible
from service.search.projection import fill
from service.search.space import Positions, SearchSpace

Value = TypeVar("Value")

__all__ = ["at_error", "at_fraction", "check_feasible", "equal_error", "percent_for", "uniform"]


def uniform(space: SearchSpace, limits: Mapping[str, int]) -> Positions:
    """The same share of its dense macs for every site; the rest to the site with the smallest share."""
    macs = space.costs["macs"]
    share = macs / macs[:, -1:]
    values = [Fraction(int(m), int(row[-1])) for row in macs for m in row]
    positions = _largest(space, limits, sorted(set(values)), lambda value: at_fraction(space, value))
    return fill(space, positions, limits, lambda at: share[np.arange(len(space)), at])


def equal_error(space: SearchSpace, limits: Mapping[str, int]) -> Positions:
    """The same bound on every site's relative error; the rest to the site with the largest error."""
    bounds = sorted({float(error) for error in space.errors.ravel()}, reverse=True)
    positions = _largest(space, limits, bounds, lambda bound: at_error(space, bound))
    return fill(space, positions, limits, lambda at: -space.error(at))


def at_fraction(space: SearchSpace, fraction: Fraction) -> Positions:
    """Every site's largest option within ``fraction`` of its dense macs; its cheapest where none is."""
    return np.array(
        [
            max((at for at, o in enumerate(site.options) if o.macs <= fraction * site.options[-1].macs), default=0)
            for site in space.sites
        ],
        dtype=np.int64,
    )


def at_error(space: SearchSpace, bound: float) -> Positions:
    """Every site's cheapest option with a relative error of at most ``bound``."""
    return np.array(
        [next(at for at, o in enumerate(site.options) if o.relative_error <= bound) for site in space.sites],
        dtype=np.int64,
    )


def check_feasible(space: SearchSpace, limits: Mapping[str, int]) -> None:
    """Refuse a budget below the cheapest choice.

    Raises:
        BudgetInfeasible: with the nearest feasible budget, which, sent instead, is feasible.
    """
    cheapest = space.cheapest()
    least = {"macs": (cheapest.macs, space.dense.macs), "params": (cheapest.params, space.dense.params)}
    missed = {word: least[word] for word, limit in limits.items() if limit < least[word][0]}
    if not missed:
        return
    nearest: dict[str, int | str] = {}
    for word, (needed, dense) in missed.items():
        nearest |= {word: needed, f"{word}_percent": percent_for(needed, dense)}
    raise BudgetInfeasible(
        "budget_infeasible",
        "even the cheapest choice of ranks costs more than the budget",
        got=", ".join(f"{word} ≤ {limits[word]}" for word in missed),
        expected=", ".join(f"{word} ≥ {nearest[word]} ({nearest[f'{word}_percent']})" for word in missed),
        mend="raise the bound, or name further methods, which may have cheaper ranks",
        nearest_feasible=nearest,
    )


def percent_for(needed: int, dense: int) -> str:
    """The smallest percentage with one decimal whose absolute bound is at least ``needed``."""
    tenths = math.floor(1000 * needed / dense)
    while int(float(f"{tenths / 10:.1f}") / 100 * dense) < needed:  # exactly what the constraint will compute
        tenths += 1
    return f"{tenths / 10:.1f}%"


def _largest(
    space: SearchSpace,
    limits: Mapping[str, int],
    values: Sequence[Value],
    member: Callable[[Value], Positions],
) -> Positions:
    """The last of ``values``, in growing order, whose member fits; the cheapest choice where none does."""
    low, high = -1, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if space.fits(member(values[middle]), limits) else (low, middle)
    return np.zeros(len(space), dtype=np.int64) if low < 0 else member(values[low])
