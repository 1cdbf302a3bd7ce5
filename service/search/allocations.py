"""Strong allocations: choices computed before anything was sampled.

All are one-parameter families that grow with their parameter; the largest member within the budget is found
exactly, by bisection over the finitely many values at which the family changes. What is left of the budget then
goes, one option at a time, to the site that the family's own idea favours next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.profiles import Rule
from service.search.chains import Chains, Levels, Positions
from service.search.feasibility import affordable
from service.search.frontier import frontier
from service.search.projection import fill
from service.search.space import SearchSpace

Value = TypeVar("Value")

__all__ = ["at_error", "at_fraction", "by_rule", "equal_error", "uniform"]


def uniform(space: SearchSpace, limits: Mapping[str, float]) -> Positions:
    """The same share of its dense macs for every site; the rest to the site with the smallest share.

    By every site's preferred method, as far as the budget has room for it.
    """
    chains = space.under(affordable(space, space.preferred, limits))
    macs = chains.costs["macs"]
    share = macs / macs[:, -1:]
    values = {Fraction(m, row[-1]) for row in macs.tolist() for m in row}
    ascending = sorted(values, key=lambda value: (float(value), value))  # fractions compare slowly, and seldom must
    levels = _largest(chains, limits, ascending, lambda value: at_fraction(chains, value))
    return chains.positions(fill(chains, levels, limits, lambda at: share[chains.rows, at]))


def equal_error(space: SearchSpace, limits: Mapping[str, float]) -> Positions:
    """The same bound on every site's error, by whatever method; the rest to the largest error.

    On a space judged by the changes of the outputs (:mod:`.changes`): the greedy selection.
    """
    chains = frontier(space, limits)
    bounds = sorted({float(error) for error in chains.errors.ravel()}, reverse=True)
    levels = _largest(chains, limits, bounds, lambda bound: at_error(chains, bound))
    return chains.positions(fill(chains, levels, limits, lambda at: -chains.error(at)))


def by_rule(space: SearchSpace, rule: Rule, limits: Mapping[str, float]) -> Positions:
    """The macs that a rule's ranks need, at the same parameter of the rule for every site; by the preferred methods.

    ``vbmf``: the ranks of variational Bayes, scaled or weakened alike (Gusak et al., MUSCO, 2019); ``energy``: the
    same share of the energy. The rest goes to the site that has the least of what the rule's next step needs.

    Raises:
        KeyError: the profile has no such rule for some site.
    """
    chains = space.under(affordable(space, space.preferred, limits))
    needs = np.array([site.rules[rule] for site in space.sites])
    steps = list(range(needs.shape[1]))
    levels = _largest(chains, limits, steps, lambda step: _within(chains, needs[:, step]))
    most = np.maximum(needs[:, -1], 1)
    share = chains.costs["macs"] / most[:, None]
    return chains.positions(fill(chains, levels, limits, lambda at: share[chains.rows, at]))


def _within(chains: Chains, macs: NDArray[np.int64]) -> Levels:
    """Every site's largest option within so many macs; its cheapest where none is."""
    fitting = (chains.costs["macs"] <= macs[:, None]) & (np.arange(chains.errors.shape[1]) <= chains.top[:, None])
    levels: Levels = np.where(fitting, np.arange(chains.errors.shape[1]), 0).max(axis=1)
    return levels


def at_fraction(chains: Chains, fraction: Fraction) -> Levels:
    """Every site's largest option within ``fraction`` of its dense macs; its cheapest where none is."""
    found = []
    for row, top in zip(chains.costs["macs"], chains.top, strict=True):
        most = fraction.numerator * int(row[top]) // fraction.denominator  # whole numbers beyond 64 bits on the way
        found.append(max(0, int(np.searchsorted(row[: top + 1], most, side="right")) - 1))
    return np.array(found, dtype=np.int64)


def at_error(chains: Chains, bound: float) -> Levels:
    """Every site's cheapest option with a relative error of at most ``bound``."""
    levels: Levels = np.argmax(chains.errors <= bound, axis=1)
    return levels


def _largest(
    chains: Chains,
    limits: Mapping[str, float],
    values: Sequence[Value],
    member: Callable[[Value], Levels],
) -> Levels:
    """The last of ``values``, in growing order, whose member fits; the cheapest choice where none does."""
    low, high = -1, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chains.fits(member(values[middle]), limits) else (low, middle)
    return np.zeros(len(chains), dtype=np.int64) if low < 0 else member(values[low])
