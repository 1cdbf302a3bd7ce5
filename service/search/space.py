"""The space that is searched: every free site's options and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.errors import InputError, RanksError
from ranksearch.contracts.profiles import Cost, GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import LayerRanks, Method, RankVector

__all__ = ["Option", "Positions", "SearchSpace", "Site", "space_of"]

Positions = NDArray[np.int64]
"""One position per site, in forward order."""


@dataclass(frozen=True)
class Option:
    """One choice for one site; ``ranks`` is None for the dense layer."""

    ranks: LayerRanks | None
    macs: int
    params: int
    relative_error: float


@dataclass(frozen=True)
class Site:
    """A site and its options: ``macs`` strictly and ``params`` weakly ascending, the last one dense."""

    name: str
    options: tuple[Option, ...]

    @property
    def top(self) -> int:
        """The dense layer's position."""
        return len(self.options) - 1


class SearchSpace:
    """All free sites of a model, and the cost of everything else.

    Args:
        sites: the free sites, at least one.
        dense: cost of the whole dense network.
    """

    def __init__(self, sites: Sequence[Site], dense: Cost) -> None:
        self.sites = tuple(sites)
        self.dense = dense
        self.top: Positions = np.array([site.top for site in sites], dtype=np.int64)
        width = int(self.top.max()) + 1
        shape = (len(sites), width)
        self.errors = np.zeros(shape)
        """Relative errors, ``(n, width)``; beyond a site's top its dense option stands."""
        self.costs = {word: np.zeros(shape, dtype=np.int64) for word in ("macs", "params")}
        """Of the options, ``(n, width)`` each."""
        for row, site in enumerate(sites):
            for column in range(width):
                option = site.options[min(column, site.top)]
                self.errors[row, column] = option.relative_error
                self.costs["macs"][row, column] = option.macs
                self.costs["params"][row, column] = option.params
        self._rows = np.arange(len(sites))
        dense_of = {"macs": dense.macs, "params": dense.params}
        self._rest = {w: dense_of[w] - int(table[:, -1].sum()) for w, table in self.costs.items()}

    def __len__(self) -> int:
        return len(self.sites)

    def cost(self, positions: Positions) -> Cost:
        """Cost of the whole network with the sites at ``positions``."""
        return Cost(macs=self._cost("macs", positions), params=self._cost("params", positions))

    def fits(self, positions: Positions, limits: Mapping[str, int]) -> bool:
        """Whether the network costs at most ``limits``, all of them."""
        return all(self._cost(word, positions) <= limit for word, limit in limits.items())

    def error(self, positions: Positions) -> NDArray[np.float64]:
        """Relative error of every site, ``(n,)``."""
        chosen: NDArray[np.float64] = self.errors[self._rows, positions]
        return chosen

    def ranks(self, positions: Positions) -> RankVector:
        """The rank vector; sites that stay dense are left out."""
        chosen = {site.name: site.options[int(at)].ranks for site, at in zip(self.sites, positions, strict=True)}
        return {name: ranks for name, ranks in chosen.items() if ranks is not None}

    def cheapest(self) -> Cost:
        """The least that any choice costs."""
        return self.cost(np.zeros(len(self), dtype=np.int64))

    def _cost(self, word: str, positions: Positions) -> int:
        return self._rest[word] + int(self.costs[word][self._rows, positions].sum())


def space_of(profile: ModelProfile, methods: Sequence[Method], keep_dense: Sequence[str] = ()) -> SearchSpace:
    """The space of a model under the methods asked for; a layer takes the first one that it has a grid for.

    Args:
        profile: of the model.
        methods: in order of preference.
        keep_dense: names of layers that are not free.

    Raises:
        InputError: ``nothing_to_compress``, or ``unsupported_method`` where other methods would have grids.
        RanksError: ``unknown_layer`` in ``keep_dense``.
    """
    _check_names(profile, keep_dense)
    free = [
        site
        for site in profile.sites
        if site.reason_dense is None and any(site.grids.values()) and site.name not in keep_dense
    ]
    if not free:
        reasons = sorted({site.reason_dense for site in profile.sites if site.reason_dense})
        raise InputError(
            "nothing_to_compress",
            "the model has no layer that could be factorised",
            got=reasons[:5]
            or (f"kept dense by request: {list(keep_dense)}" if keep_dense else "no layer with weights"),
            expected="a convolution or a linear layer large enough to gain from it",
        )
    sites = [site for site in (_site(found, methods) for found in free) if site is not None]
    if not sites:
        offered = sorted({method for site in free for method, grid in site.grids.items() if grid})
        raise InputError(
            "unsupported_method",
            "no layer of this model can be factorised with the methods asked for",
            got=list(methods),
            expected=offered,
            mend="name at least one of the methods that the model's layers have rank grids for",
            offered=offered,
        )
    return SearchSpace(sites, profile.dense)


def _check_names(profile: ModelProfile, keep_dense: Sequence[str]) -> None:
    names = [site.name for site in profile.sites]
    for name in keep_dense:
        if name not in names:
            near = get_close_matches(name, names, n=3) or names[:5]
            raise RanksError(
                "unknown_layer",
                "the model has no layer of that name",
                got=name,
                expected=f"a name such as {', '.join(near)}",
                mend="the model's profile lists all names: GET /v1/models/{id}",
            )


def _site(site: SiteProfile, methods: Sequence[Method]) -> Site | None:
    points = next((site.grids[method] for method in methods if site.grids.get(method)), None)
    if points is None:
        return None
    chain = _ascending_in_both([p for p in points if p.macs < site.macs and p.params <= site.params])
    if not chain:
        return None
    options = [Option(p.ranks, p.macs, p.params, p.relative_error) for p in chain]
    return Site(site.name, (*options, Option(None, site.macs, site.params, 0.0)))


def _ascending_in_both(points: Sequence[GridPoint]) -> list[GridPoint]:
    """The longest chain of points with rising macs and params that never fall.

    Projection needs one direction that lowers both costs. Grids nearly always have it; a strided Tucker grid may
    hold a point or two that would spend params to save macs, and those are left out here.
    """
    ordered = sorted(points, key=_macs_then_params)
    lengths: list[int] = []
    previous: list[int] = []
    for at, point in enumerate(ordered):
        before = [i for i in range(at) if ordered[i].macs < point.macs and ordered[i].params <= point.params]
        best = max(before, key=lambda i: lengths[i], default=-1)
        previous.append(best)
        lengths.append(1 if best < 0 else lengths[best] + 1)
    chain: list[GridPoint] = []
    at = max(range(len(ordered)), key=lambda i: lengths[i], default=-1)
    while at >= 0:
        chain.append(ordered[at])
        at = previous[at]
    return chain[::-1]


def _macs_then_params(point: GridPoint) -> tuple[Any, ...]:
    return point.macs, point.params
