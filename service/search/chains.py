"""One chain of options for every site: what projection and the strong allocations walk along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.profiles import Cost

__all__ = ["Chains", "Levels", "Positions", "PricedTable"]

Positions: TypeAlias = NDArray[np.int64]
"""For every site, in forward order, which of its options."""
Levels: TypeAlias = NDArray[np.int64]
"""For every site, in forward order, how far up its chain."""


class PricedTable:
    """What each choice for each site costs, and hence what any network made of such choices costs.

    Args:
        costs: per cost word, of every choice ``(n, width)``; the last column holds the dense layers.
        errors: relative errors ``(n, width)``.
        dense: cost of the whole dense network.
    """

    def __init__(self, costs: Mapping[str, NDArray[np.int64]], errors: NDArray[np.float64], dense: Cost) -> None:
        self.costs = costs
        self.errors = errors
        self.dense = dense
        dense_of = {"macs": dense.macs, "params": dense.params}
        self.rows = np.arange(len(errors))
        self._rest = {word: dense_of[word] - int(table[:, -1].sum()) for word, table in costs.items()}

    def __len__(self) -> int:
        return len(self.errors)

    def cost(self, at: NDArray[np.int64]) -> Cost:
        """Cost of the whole network with the sites at the columns ``at``, ``(n,)``."""
        return Cost(macs=self._cost("macs", at), params=self._cost("params", at))

    def fits(self, at: NDArray[np.int64], limits: Mapping[str, int]) -> bool:
        """Whether the network costs at most ``limits``, all of them."""
        return all(self._cost(word, at) <= limit for word, limit in limits.items())

    def error(self, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """Relative error of every site, ``(n,)``."""
        chosen: NDArray[np.float64] = self.errors[self.rows, at]
        return chosen

    def _cost(self, word: str, at: NDArray[np.int64]) -> int:
        return self._rest[word] + int(self.costs[word][self.rows, at].sum())


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
        super().__init__({word: costs[each] for word, costs in table.costs.items()}, table.errors[each], table.dense)
        self.top = top
        self._positions = positions

    def positions(self, levels: Levels) -> Positions:
        """The options at these levels, ``(n,)``."""
        chosen: Positions = self._positions[self.rows, levels]
        return chosen
