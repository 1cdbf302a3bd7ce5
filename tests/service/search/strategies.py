"""Random search spaces and budgets."""

from __future__ import annotations

from hypothesis import strategies as st

from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.ranks import LayerRanks
from service.search.space import Option, SearchSpace, Site

METHODS = ("cp3", "svd", "spatial_svd")


@st.composite
def _chains(draw, method, macs, params, longest, falling):
    """Macs rise strictly, params never fall, and errors are anything, or at least not rising."""
    rising = sorted(draw(st.sets(st.integers(1, macs - 1), min_size=1, max_size=longest)))
    weakly = sorted(draw(st.lists(st.integers(1, params), min_size=len(rising), max_size=len(rising))))
    thousandths = st.integers(0, 1000).map(lambda count: count / 1000)
    errors = draw(st.lists(thousandths, min_size=len(rising), max_size=len(rising)))
    errors = sorted(errors, reverse=True) if falling else errors
    return tuple(
        Option(LayerRanks(method=method, rank=i + 1), m, p, e)
        for i, (m, p, e) in enumerate(zip(rising, weakly, errors, strict=True))
    )


@st.composite
def spaces(draw, methods=1, sites=6, longest=8, falling=False) -> SearchSpace:
    """At most so many methods a site, sites, and options a chain below the dense one."""
    made = []
    for number in range(draw(st.integers(1, sites))):
        macs, params = draw(st.integers(20, 10**6)), draw(st.integers(1, 10**4))
        named = METHODS[: draw(st.integers(1, methods))]
        chains = tuple(draw(_chains(method, macs, params, longest, falling)) for method in named)
        made.append(Site(f"s{number}", chains, Option(None, macs, params, 0.0)))
    dense = Cost(
        macs=sum(site.dense.macs for site in made) + draw(st.integers(0, 10**5)),
        params=sum(site.dense.params for site in made) + draw(st.integers(0, 10**3)),
    )
    return SearchSpace(made, dense)


@st.composite
def budgets(draw, least: Cost, dense: Cost, words=(("macs",), ("params",), ("macs", "params"))) -> dict[str, int]:
    """Bounds of some kind, none below ``least``."""
    return {
        word: draw(st.integers(getattr(least, word), max(getattr(least, word), getattr(dense, word))))
        for word in draw(st.sampled_from(words))
    }
