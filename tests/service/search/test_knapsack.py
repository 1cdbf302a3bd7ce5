from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.feasibility import bottom, thriftiest
from service.search.knapsack import least_error
from tests.service.search.strategies import budgets, spaces


def by_brute_force(space, loss, limits):
    best = np.inf
    for choice in product(*(range(len(site.options)) for site in space.sites)):
        at = np.array(choice)
        if space.fits(at, limits):
            best = min(best, loss[space.rows, at].sum())
    return best


@given(st.data())
@settings(max_examples=40)
def test_what_is_found_fits_and_is_within_one_option_of_the_optimum(data):
    space = data.draw(spaces(methods=2, sites=4, longest=4))
    least = bottom(space, thriftiest(space, {"macs": space.dense.macs}))
    limits = {"macs": data.draw(st.integers(least.macs, space.dense.macs))}
    loss = np.random.default_rng(0).uniform(0.5, 2, len(space))[:, None] * space.errors**2
    found = least_error(space, loss, limits, space.exists)
    assert found is not None
    assert space.fits(found, limits)
    largest_step = np.where(space.exists, loss, 0).max()
    assert loss[space.rows, found].sum() <= by_brute_force(space, loss, limits) + largest_step + 1e-9


@given(st.data())
@settings(max_examples=30)
def test_several_bounds_are_all_kept(data):
    space = data.draw(spaces(methods=2, sites=3, longest=4))
    least = bottom(space, thriftiest(space, {"macs": space.dense.macs, "params": space.dense.params}))
    limits = data.draw(budgets(least, space.dense))
    found = least_error(space, space.errors**2, limits, space.exists)
    assert found is None or space.fits(found, limits)


def test_a_large_budget_leaves_every_layer_dense(wide):
    found = least_error(wide, wide.errors**2, {"macs": wide.dense.macs}, wide.exists)
    assert (wide.errors[wide.rows, found] == 0).all()


def test_a_site_that_costs_more_error_gets_more_of_the_budget(wide):
    limits = {"macs": wide.dense.macs // 3}
    even, weighted = (
        least_error(wide, weights[:, None] * wide.errors**2, limits, wide.exists)
        for weights in (np.ones(20), np.where(np.arange(20) == 7, 30.0, 1.0))
    )
    assert wide.costs["macs"][7, weighted[7]] > wide.costs["macs"][7, even[7]]


def test_only_allowed_options_are_taken(wide):
    allowed = np.zeros_like(wide.exists)
    allowed[:, 4:7] = True
    found = least_error(wide, wide.errors**2, {"macs": wide.dense.macs // 2}, allowed)
    assert set(found.tolist()) <= {4, 5, 6}


@pytest.mark.parametrize("allowed_from", [8])
def test_nothing_is_found_where_nothing_allowed_fits(wide, allowed_from):
    allowed = wide.exists & (np.arange(wide.exists.shape[1]) >= allowed_from)
    assert least_error(wide, wide.errors**2, {"macs": wide.dense.macs // 5}, allowed) is None
