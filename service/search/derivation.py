"""How a search space comes from a model's profile and what a study asks for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from ranksearch.contracts.errors import InputError, RanksError
from ranksearch.contracts.profiles import GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import Method
from service.search.space import Option, SearchSpace, Site

__all__ = ["space_of"]


def space_of(
    profile: ModelProfile, methods: Sequence[Method], keep_dense: Sequence[str] = (), *, latency: bool = False
) -> SearchSpace:
    """The space of a model: each layer with all the methods asked for that it has a grid for.

    Args:
        profile: of the model.
        methods: in order of preference. ``dense`` among them changes nothing: every layer may stay dense.
        keep_dense: names of layers that are not free.
        latency: price latencies, too, by the profile's table. What the layers alone take is scaled down where
            together they take more than the network.

    Raises:
        InputError: ``nothing_to_compress``, ``unsupported_method`` where other methods would have grids, or
            ``latency_unknown``.
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
    scale = _latency_scale(profile) if latency else None
    sites = [site for site in (_site(found, methods, scale) for found in free) if site is not None]
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
    return SearchSpace(sites, profile.dense, profile.latency.latency_ms if latency and profile.latency else None)


def _latency_scale(profile: ModelProfile) -> float:
    """Measured one by one, layers take longer than inside the network; never shorter than it by more than the rest."""
    alone = [site.latency_ms for site in profile.sites if site.latency_ms is not None]
    if profile.latency is None or not alone:
        raise InputError(
            "latency_unknown",
            "the model's layers were not timed when it was inspected",
            expected="a profile with latencies",
            mend="have the model inspected again by a worker of this version, or bound macs instead",
        )
    return min(1.0, profile.latency.latency_ms / max(sum(alone), 1e-9))


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


def _site(site: SiteProfile, methods: Sequence[Method], scale: float | None) -> Site | None:
    """The site; ``scale`` of its latencies, None where they are not priced."""
    chains = [_ascending_in_both(_cheaper_than_dense(site, method)) for method in dict.fromkeys(methods)]
    own = None if scale is None else scale * (site.latency_ms or 0.0)
    options = tuple(_options(chain, scale, own) for chain in chains if chain)
    dense = Option(None, site.macs, site.params, 0.0, own)
    rules = {rule: tuple(steps) for rule, steps in site.rules.items()}
    return Site(site.name, options, dense, rules) if options else None


def _options(chain: Sequence[GridPoint], scale: float | None, dense: float | None) -> tuple[Option, ...]:
    """A chain's options.

    Latencies, measured, may fall where macs rise: an option is priced at the most below it, and never above the dense
    layer. What is no faster than that is then never worth its error, unless for its macs.
    """
    slowest, options = 0.0, []
    for point in chain:
        latency = None
        if scale is not None and dense is not None:
            slowest = max(slowest, scale * point.latency_ms if point.latency_ms is not None else dense)
            latency = min(slowest, dense)
        options.append(Option(point.ranks, point.macs, point.params, point.relative_error, latency))
    return tuple(options)


def _cheaper_than_dense(site: SiteProfile, method: Method) -> list[GridPoint]:
    return [p for p in site.grids.get(method, []) if p.macs < site.macs and p.params <= site.params]


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
