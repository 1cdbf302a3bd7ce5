"""The least that a network can cost, and selections of methods that a budget leaves room for.

Of two methods one may have the fewer macs at the bottom of its chain and the other the fewer params. Under a bound
on both, which bottoms to take is a knapsack problem; it is answered from the ``n + 1`` selections that lie between
all sites' fewest macs and all sites' fewest params, where the sites that save most params for a mac change over
first: the greedy path of its linear relaxation (Sinha & Zoltners 1979, *The Multiple-Choice Knapsack Problem*).
These do not depend on the budget, so one that is named as the nearest feasible is feasible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.errors import BudgetInfeasible
from ranksearch.contracts.profiles import Cost
from service.search.space import SearchSpace, Selection

__all__ = ["affordable", "check_feasible", "percent_for", "thriftiest"]


def thriftiest(space: SearchSpace, limits: Mapping[str, int]) -> Selection:
    """The methods whose cheapest options leave the largest share of the tightest bound, ``(n,)``."""
    macs, params = space.bottoms("macs"), space.bottoms("params")
    lean, small = _least(macs, params), _least(params, macs)
    more_macs = (macs[space.rows, small] - macs[space.rows, lean]).astype(np.float64)
    fewer_params = params[space.rows, lean] - params[space.rows, small]
    changing = np.flatnonzero(lean != small)
    order = changing[np.argsort(more_macs[changing] / fewer_params[changing], kind="stable")]
    path = [lean]
    for site in order:
        path.append(np.where(space.rows == site, small, path[-1]))
    costs = [bottom(space, selection) for selection in path]
    return path[min(range(len(path)), key=lambda at: _largest_share(costs[at], limits))]


def affordable(space: SearchSpace, selection: Selection, limits: Mapping[str, int]) -> Selection:
    """``selection``, or what is left of it once enough sites have a thriftier method that something fits.

    The sites that save most change first; no more of them change than must.
    """
    zeros = np.zeros(len(space), dtype=np.int64)
    if space.under(selection).fits(zeros, limits):
        return selection
    thrifty = thriftiest(space, limits)
    saved = np.zeros(len(space))
    for word, limit in limits.items():
        bottoms = space.bottoms(word)
        saved += (bottoms[space.rows, selection] - bottoms[space.rows, thrifty]) / max(limit, 1)
    changed = selection.copy()
    for site in np.argsort(-saved, kind="stable"):
        changed[site] = thrifty[site]
        if space.under(changed).fits(zeros, limits):
            break
    return changed


def bottom(space: SearchSpace, selection: Selection) -> Cost:
    """The least that the network costs with these methods."""
    return space.under(selection).cost(np.zeros(len(space), dtype=np.int64))


def check_feasible(space: SearchSpace, limits: Mapping[str, int]) -> None:
    """Refuse a budget below the cheapest choice.

    Raises:
        BudgetInfeasible: with the nearest feasible budget, which, sent instead, is feasible.
    """
    cheapest = bottom(space, thriftiest(space, limits))
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


def _least(first: NDArray[np.int64], second: NDArray[np.int64]) -> Selection:
    """Of every row the column that is least in ``first``, then in ``second``, then in order; ``(n,)``."""
    columns = np.broadcast_to(np.arange(first.shape[1]), first.shape)
    return np.lexsort((columns, second, first), axis=1)[:, 0]


def _largest_share(cost: Cost, limits: Mapping[str, int]) -> float:
    costs = {"macs": cost.macs, "params": cost.params}
    return max(costs[word] / max(limit, 1) for word, limit in limits.items())  # a tiny percentage rounds to none
