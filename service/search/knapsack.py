"""The choice with the least weighted squared error within a budget.

``min Σ_l w_l e_l²  s.t.  Σ_l c_l ≤ C`` over one option for every site: a multiple-choice knapsack problem (Sinha &
Zoltners 1979). Its Lagrangian falls apart by site, so that for a price λ of the cost every site takes its own best
option; the smallest λ that fits is found by narrowing a bracket, many prices at a time (numpy's calls cost more than
its work here), and what it leaves of the budget is spent where it buys most.
Several bounds are priced by their shares of the budget, the price moving towards the bound that is exceeded most.
The result is within one option of the optimum in every site.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.search.chains import Positions
from service.search.space import SearchSpace

__all__ = ["least_error"]

_CUTS, _NARROWINGS = np.linspace(0, 1, 17), 10
"""Where the bracket of the price is cut, in logarithms, and how often: to a part in 10¹²."""
_ROUNDS = 8


def least_error(
    space: SearchSpace, loss: NDArray[np.float64], limits: Mapping[str, float], allowed: NDArray[np.bool_]
) -> Positions | None:
    """The allowed choice with about the least loss within the limits; None where none was found.

    Args:
        space: the free sites.
        loss: of every option ``(n, options)``.
        limits: absolute bounds, at least one.
        allowed: options that may be taken ``(n, options)``, at least one for every site.
    """
    words = list(limits)
    shares = np.array([space.costs[word] / max(limits[word], 1e-9) for word in words])
    masked = np.where(allowed, loss, np.inf)
    prices = np.full(len(words), 1 / len(words))
    best: Positions | None = None
    for _ in range(_ROUNDS if len(words) > 1 else 1):
        found = _at_price(space, masked, np.tensordot(prices, shares, 1), limits)
        if found is None:
            break
        filled = _spend(space, masked, limits, found)
        if best is None or _loss(masked, filled) < _loss(masked, best):
            best = filled
        used = np.array([space.total(word, found) / limits[word] for word in words])
        prices = prices * used**4 / (prices * used**4).sum()
    return best


def _at_price(
    space: SearchSpace, loss: NDArray[np.float64], cost: NDArray[np.float64], limits: Mapping[str, float]
) -> Positions | None:
    """Every site's best option at the smallest price that fits."""

    def at(prices: NDArray[np.float64]) -> NDArray[np.int64]:
        chosen: NDArray[np.int64] = np.argmin(loss + prices[:, None, None] * cost, axis=2)
        return chosen

    scale = float(np.max(loss[np.isfinite(loss)], initial=1e-12)) / max(float(cost[cost > 0].min(initial=1.0)), 1e-12)
    low, high = 1e-12 * scale, 1e3 * scale
    found: Positions | None = None
    for _ in range(_NARROWINGS):
        prices = low * (high / low) ** _CUTS
        chosen = at(prices)
        fitting = space.fitting(chosen, limits)
        if not fitting[-1]:
            return found
        first = int(np.argmax(fitting))
        found, high = chosen[first], prices[first]
        if first == 0:
            break
        low = prices[first - 1]
    return found


def _spend(space: SearchSpace, loss: NDArray[np.float64], limits: Mapping[str, float], at: Positions) -> Positions:
    """Change one site at a time, first what saves most loss for its share of the budget, while it fits."""
    chosen = at.copy()
    shares = np.array([space.costs[word] / max(limits[word], 1e-9) for word in limits])
    while True:
        left = np.array([1 - space.total(word, chosen) / max(limits[word], 1e-9) for word in limits])
        extra = shares - shares[:, space.rows, chosen][:, :, None]
        saved = loss[space.rows, chosen][:, None] - loss
        possible = (extra <= left[:, None, None]).all(axis=0) & (saved > 0)
        if not possible.any():
            return chosen
        gain = np.where(possible, saved / np.maximum(extra.max(axis=0), 1e-12), -np.inf)
        site, option = np.unravel_index(int(np.argmax(gain)), gain.shape)
        before = chosen[site]
        chosen[site] = option
        if not space.fits(chosen, limits):  # by round-off of the shares
            loss = loss.copy()
            loss[site, option], chosen[site] = np.inf, before


def _loss(loss: NDArray[np.float64], at: Positions) -> float:
    return float(loss[np.arange(len(at)), at].sum())
