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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.errors import BudgetInfeasible
from ranksearch.contracts.profiles import Cost
from service.search.space import SearchSpace, Selection

__all__ = ["affordable", "check_feasible", "least_cost", "percent_for", "thriftiest"]


def thriftiest(space: SearchSpace, limits: Mapping[str, float]) -> Selection:
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
    if "latency_ms" in space.costs:
        path.append(_least(space.bottoms("latency_ms"), macs))
    return path[min(range(len(path)), key=lambda at: _largest_share(space, path[at], limits))]


def affordable(space: SearchSpace, selection: Selection, limits: Mapping[str, float]) -> Selection:
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


def least_cost(space: SearchSpace, word: str) -> float:
    """The least that the network can cost in one word, whatever that means for the others."""
    cheapest = space.under(thriftiest(space, {word: 1.0}))
    return cheapest.total(word, np.zeros(len(space), dtype=np.int64))


def check_feasible(space: SearchSpace, limits: Mapping[str, float]) -> None:
    """Refuse a budget below the cheapest choice.

    Raises:
        BudgetInfeasible: with the nearest feasible budget, which, sent instead, is feasible.
    """
    cheapest, zeros = space.under(thriftiest(space, limits)), np.zeros(len(space), dtype=np.int64)
    missed = {word: cheapest.total(word, zeros) for word, limit in limits.items()}
    missed = {word: needed for word, needed in missed.items() if limits[word] < needed}
    if not missed:
        return
    nearest: dict[str, float | str] = {}
    for word, needed in missed.items():
        absolute = math.ceil(needed * 1000) / 1000 if word == "latency_ms" else int(needed)
        nearest |= {
            word: absolute,
            f"{word}_percent": percent_for(absolute, space.whole[word], whole=word != "latency_ms"),
        }
    raise BudgetInfeasible(
        "budget_infeasible",
        "even the cheapest choice of ranks costs more than the budget",
        got=", ".join(f"{word} ≤ {_told(word, limits[word])}" for word in missed),
        expected=", ".join(f"{word} ≥ {nearest[word]} ({nearest[f'{word}_percent']})" for word in missed),
        mend="raise the bound, or name further methods, which may have cheaper ranks",
        nearest_feasible=nearest,
    )


def _told(word: str, limit: float) -> str:
    return f"{limit:.3g}" if word == "latency_ms" else f"{limit:.0f}"


def percent_for(needed: float, dense: float, *, whole: bool = True) -> str:
    """The smallest percentage with one decimal whose absolute bound is at least ``needed``.

    Args:
        needed: the least cost.
        dense: the cost that it is a percentage of.
        whole: bounds are rounded down to whole numbers, as those of macs and params are.
    """
    tenths = math.floor(1000 * needed / dense)

    def bound() -> float:
        exact = float(f"{tenths / 10:.1f}") / 100 * dense  # exactly what the constraint will compute
        return int(exact) if whole else exact

    while bound() < needed:
        tenths += 1
    return f"{tenths / 10:.1f}%"


def _least(first: NDArray[Any], second: NDArray[Any]) -> Selection:
    """Of every row the column that is least in ``first``, then in ``second``, then in order; ``(n,)``."""
    columns = np.broadcast_to(np.arange(first.shape[1]), first.shape)
    return np.lexsort((columns, second, first), axis=1)[:, 0]


def _largest_share(space: SearchSpace, selection: Selection, limits: Mapping[str, float]) -> float:
    chains, zeros = space.under(selection), np.zeros(len(space), dtype=np.int64)
    return max((chains.total(word, zeros) / max(limit, 1e-9) for word, limit in limits.items()), default=0.0)
