from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.ranks import LayerRanks
from service.search.projection import project
from service.search.space import Option, SearchSpace, Site


@st.composite
def spaces(draw) -> SearchSpace:
    """Random chains: macs rise strictly, params never fall, and errors are anything."""
    sites = []
    for number in range(draw(st.integers(1, 6))):
        macs = sorted(draw(st.sets(st.integers(1, 10**6), min_size=2, max_size=9)))
        params = sorted(draw(st.lists(st.integers(1, 10**4), min_size=len(macs), max_size=len(macs))))
        errors = draw(st.lists(st.floats(0, 1), min_size=len(macs), max_size=len(macs)))
        options = [
            Option(LayerRanks(method="cp3", rank=i + 1), m, p, e)
            for i, (m, p, e) in enumerate(zip(macs, params, errors, strict=True))
        ]
        options[-1] = Option(None, macs[-1], params[-1], 0.0)
        sites.append(Site(f"s{number}", tuple(options)))
    dense = Cost(
        macs=sum(s.options[-1].macs for s in sites) + draw(st.integers(0, 10**5)),
        params=sum(s.options[-1].params for s in sites) + draw(st.integers(0, 10**3)),
    )
    return SearchSpace(sites, dense)


@st.composite
def problems(draw):
    space = draw(spaces())
    cheapest = space.cheapest()
    limits = {}
    for word in draw(st.sampled_from([("macs",), ("params",), ("macs", "params")])):
        limits[word] = draw(st.integers(getattr(cheapest, word), getattr(space.dense, word)))
    sample = draw(st.lists(st.floats(-50, 50), min_size=len(space), max_size=len(space)))
    return space, np.array(sample), limits


@given(problems())
@settings(max_examples=150, deadline=None)
def test_a_projection_never_costs_more_than_the_budget(problem):
    space, sample, limits = problem
    cost = space.cost(project(space, sample, limits))
    assert all(getattr(cost, word) <= limit for word, limit in limits.items())


@given(problems())
@settings(max_examples=100, deadline=None)
def test_no_single_site_could_be_raised_any_more(problem):
    space, sample, limits = problem
    positions = project(space, sample, limits)
    for site in range(len(space)):
        if positions[site] < space.top[site]:
            raised = positions.copy()
            raised[site] += 1
            assert not space.fits(raised, limits)


@given(problems())
@settings(max_examples=50, deadline=None)
def test_the_same_sample_gives_the_same_choice(problem):
    space, sample, limits = problem
    assert (project(space, sample, limits) == project(space, sample.copy(), limits)).all()


def test_a_choice_on_the_budget_is_its_own_projection(space):
    positions = np.array([3, 2, 4, 3])
    limits = {"macs": space.cost(positions).macs}
    assert (project(space, positions.astype(float), limits) == positions).all()


def test_with_the_whole_budget_everything_stays_dense(space):
    limits = {"macs": space.dense.macs, "params": space.dense.params}
    assert (project(space, np.zeros(len(space)), limits) == space.top).all()


def test_a_budget_that_nothing_fits_is_a_value_error(space):
    with pytest.raises(ValueError, match="no choice fits"):
        project(space, np.zeros(len(space)), {"macs": space.cheapest().macs - 1})
