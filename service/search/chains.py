"""One chain of options for every site: what projection and the strong allocations walk along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.profiles import Cost

__all__ = ["Chains", "Costs", "Levels", "Positions", "PricedTable"]

Positions: TypeAlias = NDArray[np.int64]
"""For every site, in forward order, which of its options."""
Levels: TypeAlias = NDArray[np.int64]
"""For every site, in forward order, how far up its chain."""
Costs: TypeAlias = Mapping[str, NDArray[Any]]
"""Cost word → table; whole numbers of macs and params, milliseconds of latency."""


class PricedTable:
    """What each choice for each site costs, and hence what any network made of such choices costs.

    Args:
        costs: per cost word, of every choice ``(n, width)``; the last column holds the dense layers.
        errors: relative errors ``(n, width)``.
        whole: of the whole dense network, for the same cost words.
    """

    def __init__(self, costs: Costs, errors: NDArray[np.float64], whole: Mapping[str, float]) -> None:
        self.costs = costs
        self.errors = errors
        self.whole = whole
        self.rows = np.arange(len(errors))
        self._rest = {word: whole[word] - table[:, -1].sum() for word, table in costs.items()}

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def dense(self) -> Cost:
        """Cost of the whole dense network."""
        return Cost(macs=int(self.whole["macs"]), params=int(self.whole["params"]))

    def cost(self, at: NDArray[np.int64]) -> Cost:
        """Cost of the whole network with the sites at the columns ``at``, ``(n,)``."""
        return Cost(macs=int(self.total("macs", at)), params=int(self.total("params", at)))

    def total(self, word: str, at: NDArray[np.int64]) -> float:
        """What the whole network costs in one word; a latency is the sum of its layers', an estimate."""
        return float(self._rest[word] + self.costs[word][self.rows, at].sum())

    def fits(self, at: NDArray[np.int64], limits: Mapping[str, float]) -> bool:
        """Whether the network costs at most ``limits``, all of them."""
        return all(self.total(word, at) <= limit for word, limit in limits.items())

    def fitting(self, at: NDArray[np.int64], limits: Mapping[str, float]) -> NDArray[np.bool_]:
        """Which of several networks, ``(k, n)``, cost at most ``limits``: ``(k,)``."""
        fit = np.ones(len(at), bool)
        for word, limit in limits.items():
            fit &= self._rest[word] + self.costs[word][self.rows, at].sum(axis=1) <= limit
        return fit

    def error(self, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """Relative error of every site, ``(n,)``."""
        chosen: NDArray[np.float64] = self.errors[self.rows, at]
        return chosen


class Chains(PricedTable):
    """One chain for every site, by level.

    A step up any chain lowers none of the costs that are bounded; the top of each is the dense layer. So whatever
    fits still fits one level further down, and a budget is met by going down far enough.

    Args:
        table: the options of every site, by position.
        positions: of the options on the chains ``(n, width)``; beyond a chain's top its dense option stands.
        top: the dense layers' levels ``(n,)``.
    """

    def __init__(self, table: PricedTable, positions: NDArray[np.int64], top: Levels) -> None:
        each = table.rows[:, None], positions
        super().__init__({word: costs[each] for word, costs in table.costs.items()}, table.errors[each], table.whole)
        self.top = top
        self._positions = positions

    def on_chain(self, row: int) -> Positions:
        """The options on one site's chain, from the cheapest to the dense one."""
        return self._positions[row, : int(self.top[row]) + 1]

    def positions(self, levels: Levels) -> Positions:
        """The options at these levels, ``(n,)``."""
        chosen: Positions = self._positions[self.rows, levels]
        return chosen
