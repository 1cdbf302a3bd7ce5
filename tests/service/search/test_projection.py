from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.projection import project
from tests.service.search.strategies import budgets, spaces


@st.composite
def problems(draw):
    """One method a site, as any selection leaves it."""
    space = draw(spaces())
    chains = space.under(space.preferred)
    limits = draw(budgets(chains.cost(chains.top * 0), chains.dense))
    sample = draw(st.lists(st.floats(-50, 50), min_size=len(space), max_size=len(space)))
    return chains, np.array(sample), limits


@pytest.fixture
def chains(space):
    return space.under(space.preferred)


@given(problems())
@settings(max_examples=150)
def test_a_projection_never_costs_more_than_the_budget(problem):
    chains, sample, limits = problem
    cost = chains.cost(project(chains, sample, limits))
    assert all(getattr(cost, word) <= limit for word, limit in limits.items())


@given(problems())
@settings(max_examples=100)
def test_no_single_site_could_be_raised_any_more(problem):
    chains, sample, limits = problem
    levels = project(chains, sample, limits)
    for site in range(len(chains)):
        if levels[site] < chains.top[site]:
            raised = levels.copy()
            raised[site] += 1
            assert not chains.fits(raised, limits)


@given(problems())
@settings(max_examples=50)
def test_the_same_sample_gives_the_same_choice(problem):
    chains, sample, limits = problem
    assert (project(chains, sample, limits) == project(chains, sample.copy(), limits)).all()


def test_a_choice_on_the_budget_is_its_own_projection(chains):
    levels = np.array([3, 2, 4, 3])
    limits = {"macs": chains.cost(levels).macs}
    assert (project(chains, levels.astype(float), limits) == levels).all()


def test_with_the_whole_budget_everything_stays_dense(chains):
    limits = {"macs": chains.dense.macs, "params": chains.dense.params}
    assert (project(chains, np.zeros(len(chains)), limits) == chains.top).all()


def test_a_budget_that_nothing_fits_is_a_value_error(chains):
    least = chains.cost(np.zeros(len(chains), dtype=int)).macs
    with pytest.raises(ValueError, match=f"no choice fits.*{least}"):
        project(chains, np.zeros(len(chains)), {"macs": least - 1})
