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


def space_of(profile: ModelProfile, methods: Sequence[Method], keep_dense: Sequence[str] = ()) -> SearchSpace:
    """The space of a model: each layer with all the methods asked for that it has a grid for.

    Args:
        profile: of the model.
        methods: in order of preference. ``dense`` among them changes nothing: every layer may stay dense.
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
    chains = [_ascending_in_both(_cheaper_than_dense(site, method)) for method in dict.fromkeys(methods)]
    options = tuple(
        tuple(Option(p.ranks, p.macs, p.params, p.relative_error) for p in chain) for chain in chains if chain
    )
    return Site(site.name, options, Option(None, site.macs, site.params, 0.0)) if options else None


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
