"""The space that is searched: every free site's options, of all methods asked for, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.profiles import Cost, Rule
from ranksearch.contracts.ranks import LayerRanks, Method, RankVector
from service.search.chains import Chains, Positions, PricedTable

__all__ = ["Option", "SearchSpace", "Selection", "Site"]

Selection: TypeAlias = NDArray[np.int64]
"""For every site, in forward order, which of its methods."""
_DENSE = -1


@dataclass(frozen=True)
class Option:
    """One choice for one site; ``ranks`` is None for the dense layer."""

    ranks: LayerRanks | None
    macs: int
    params: int
    relative_error: float
    latency_ms: float | None = None

    @property
    def method(self) -> Method:
        """Of its ranks."""
        return "dense" if self.ranks is None else self.ranks.method


@dataclass(frozen=True)
class Site:
    """A site: one chain for each of its methods, in order of preference, and the dense layer, the top of them all.

    Along every chain, up to ``dense``, ``macs`` ascend strictly, ``params`` and latencies weakly. ``rules``: see
    :class:`~ranksearch.contracts.profiles.SiteProfile`.
    """

    name: str
    chains: tuple[tuple[Option, ...], ...]
    dense: Option
    rules: Mapping[Rule, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """All of them, by position: the preferred chain, its dense top, then what the other chains have below it.

        Positions are stored with trials. In this order those of a site with one method are the levels of its
        chain, and a method added behind the others renumbers nothing.
        """
        preferred, *others = self.chains
        return (*preferred, self.dense, *(option for chain in others for option in chain))

    @property
    def methods(self) -> tuple[Method, ...]:
        """Of the chains."""
        return tuple(chain[0].method for chain in self.chains)

    @cached_property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """Of the options on each chain, from the cheapest to the dense one."""
        dense = len(self.chains[0])
        found, start = [], 0
        for chain in self.chains:
            found.append((*range(start, start + len(chain)), dense))
            start = max(start + len(chain), dense + 1)
        return tuple(found)


class SearchSpace(PricedTable):
    """All free sites of a model, and the cost of everything else. Its table's columns are positions.

    Args:
        sites: the free sites, at least one.
        dense: cost of the whole dense network.
        latency_ms: of the whole dense network, where all options have latencies; then they are priced, too.
    """

    def __init__(self, sites: Sequence[Site], dense: Cost, latency_ms: float | None = None) -> None:
        self.sites = tuple(sites)
        width = max(len(site.options) for site in sites) + 1
        options = [[*site.options, *[site.dense] * (width - len(site.options))] for site in sites]
        whole: dict[str, float] = {"macs": dense.macs, "params": dense.params}
        if latency_ms is not None:
            whole["latency_ms"] = latency_ms
        costs = {word: np.array([[getattr(option, word) for option in row] for row in options]) for word in whole}
        errors = np.array([[option.relative_error for option in row] for row in options], dtype=np.float64)
        super().__init__(costs, errors, whole)
        self.exists = np.array([[at < len(site.options) for at in range(width)] for site in sites])
        """Which columns hold an option of the site ``(n, width)``; the others repeat its dense layer."""
        methods = list(dict.fromkeys(method for site in sites for method in site.methods))
        self.methods: NDArray[np.int64] = np.array(
            [[methods.index(option.method) if option.ranks else _DENSE for option in row] for row in options]
        )
        """Which of all methods each option is of ``(n, width)``; −1 for dense layers."""
        self.method_counts: Selection = np.array([len(site.chains) for site in sites], dtype=np.int64)
        """How many methods each site has, ``(n,)``."""
        self._chart(width)

    def _chart(self, width: int) -> None:
        """Which options are on which chain, and where; methods that a site lacks repeat its first."""
        most = int(self.method_counts.max())
        height = max(len(chain) for site in self.sites for chain in site.positions)
        self._chains = np.zeros((len(self), most, height), dtype=np.int64)
        self._tops = np.zeros((len(self), most), dtype=np.int64)
        self._method_at = np.full((len(self), width), _DENSE)
        self._level_at = np.zeros((len(self), width), dtype=np.int64)
        for row, site in enumerate(self.sites):
            for method in range(most):
                chain = site.positions[method if method < len(site.chains) else 0]
                self._chains[row, method] = [*chain, *[chain[-1]] * (height - len(chain))]
                self._tops[row, method] = len(chain) - 1
            for method, chain in enumerate(site.positions):
                self._method_at[row, list(chain[:-1])] = method
                self._level_at[row, list(chain[:-1])] = range(len(chain) - 1)

    def judged_by(self, errors: NDArray[np.float64]) -> SearchSpace:
        """The same options with other errors ``(n, width)``."""
        other = copy(self)
        other.errors = errors
        return other

    @property
    def preferred(self) -> Selection:
        """Every site's first method."""
        return np.zeros(len(self), dtype=np.int64)

    def under(self, selection: Selection) -> Chains:
        """The chains of these methods, ``(n,)``."""
        return Chains(self, self._chains[self.rows, selection], self._tops[self.rows, selection])

    def bottoms(self, word: str) -> NDArray[Any]:
        """The least that each site costs by each method, ``(n, methods)``; methods it lacks repeat its first."""
        least: NDArray[Any] = self.costs[word][self.rows[:, None], self._chains[:, :, 0]]
        return least

    def selection(self, positions: Positions, otherwise: Selection) -> Selection:
        """The methods of these options, ``(…, n)``; ``otherwise`` where they are dense, which is of every method."""
        methods = self._method_at[self.rows, positions]
        return np.where(methods == _DENSE, otherwise, methods)

    def levels(self, positions: Positions, selection: Selection) -> NDArray[np.int64]:
        """How far up the chains of ``selection`` these options are, ``(…, n)``. They must be on them."""
        is_dense = self._method_at[self.rows, positions] == _DENSE
        return np.where(is_dense, self._tops[self.rows, selection], self._level_at[self.rows, positions])

    def carried(self, levels: NDArray[np.float64], selection: Selection, towards: Selection) -> NDArray[np.float64]:
        """Real-valued levels on the chains of ``selection`` → those of the same macs on the chains of ``towards``.

        Between two options macs are interpolated; what lies beyond the other chain's ends becomes its end. Sites
        whose method stays keep their level, wherever it lies.
        """
        carried = levels.copy()
        for site in np.flatnonzero(selection != towards):
            here, there = (
                self.costs["macs"][site, self._chains[site, method, : self._tops[site, method] + 1]]
                for method in (selection[site], towards[site])
            )
            macs = np.interp(levels[site], np.arange(here.size), here)
            carried[site] = np.interp(macs, there, np.arange(there.size))
        return carried

    def ranks(self, positions: Positions) -> RankVector:
        """The rank vector; sites that stay dense are left out."""
        chosen = {site.name: site.options[int(at)].ranks for site, at in zip(self.sites, positions, strict=True)}
        return {name: ranks for name, ranks in chosen.items() if ranks is not None}
