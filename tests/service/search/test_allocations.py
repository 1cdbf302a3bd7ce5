from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.allocations import at_error, at_fraction, equal_error, uniform
from service.search.feasibility import bottom, thriftiest
from service.search.space import SearchSpace
from tests.service.search.strategies import budgets, spaces


def half(space):
    return {"macs": space.dense.macs // 2}


@pytest.fixture
def chains(space):
    return space.under(space.preferred)


@pytest.mark.parametrize("allocation", [uniform, equal_error])
def test_an_allocation_fits_and_uses_the_budget_up(space, allocation):
    positions = allocation(space, half(space))
    assert space.fits(positions, half(space))
    for site in range(len(space)):
        raised = positions.copy()
        raised[site] += 1
        assert not space.fits(raised, half(space))


def test_a_smaller_error_bound_never_lowers_a_level(chains):
    bounds = sorted(set(chains.errors.ravel()), reverse=True)
    chosen = [at_error(chains, bound) for bound in bounds]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(chosen))


def test_a_larger_fraction_never_lowers_a_level(chains):
    chosen = [at_fraction(chains, Fraction(tenth, 10)) for tenth in range(11)]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(chosen))


def test_equal_error_starts_from_the_best_bound_that_fits(space, chains):
    positions = equal_error(space, half(space))
    feasible = [b for b in set(space.errors.ravel()) if chains.fits(at_error(chains, b), half(space))]
    assert (positions >= at_error(chains, min(feasible))).all()


def test_equal_error_gives_the_sensitive_layer_the_larger_share(space):
    positions = equal_error(space, half(space))
    shares = [site.options[at].macs / site.options[-1].macs for site, at in zip(space.sites, positions, strict=True)]
    assert shares[0] > shares[-1]  # the last layer's error falls fastest with its rank


def test_the_cheapest_budget_gives_the_cheapest_choice(space):
    limits = {"macs": bottom(space, space.preferred).macs}
    assert (equal_error(space, limits) == np.zeros(len(space))).all()


@st.composite
def problems(draw, words=(("macs",), ("params",), ("macs", "params")), falling=False):
    """Several methods a site, and a budget that some choice of them meets."""
    space = draw(spaces(methods=3, falling=falling))
    least = bottom(space, thriftiest(space, {"macs": space.dense.macs, "params": space.dense.params}))
    return space, draw(budgets(least, space.dense, words))


@pytest.mark.parametrize("allocation", [uniform, equal_error])
@given(problem=problems())
@settings(max_examples=60)
def test_an_allocation_of_several_methods_never_costs_more_than_the_budget(allocation, problem):
    space, limits = problem
    positions = allocation(space, limits)
    costs = space.dense.model_dump()
    for site, at in zip(space.sites, positions, strict=True):  # added up here, apart from the tables
        for word in costs:
            costs[word] += getattr(site.options[at], word) - getattr(site.dense, word)
    assert all(costs[word] <= limit for word, limit in limits.items())


@given(problems(words=(("macs",),), falling=True))
@settings(max_examples=60)
def test_more_methods_never_make_the_largest_error_larger(problem):
    space, limits = problem
    joint = space.error(equal_error(space, limits)).max()
    preferred = SearchSpace([type(site)(site.name, site.chains[:1], site.dense) for site in space.sites], space.dense)
    if bottom(preferred, preferred.preferred).macs <= limits["macs"]:
        assert joint <= preferred.error(equal_error(preferred, limits)).max()


def methods_of(space, positions):
    return [site.options[at].method for site, at in zip(space.sites, positions, strict=True)]


def test_uniform_is_by_the_preferred_method(mixed):
    assert set(methods_of(mixed, uniform(mixed, half(mixed)))) <= {"tucker2", "cp3", "dense"}
    assert methods_of(mixed, uniform(mixed, half(mixed))).count("cp3") == 1  # the layer that has no other


def test_equal_error_takes_for_every_layer_the_method_that_is_cheapest_at_that_error(mixed):
    chosen = methods_of(mixed, equal_error(mixed, {"macs": mixed.dense.macs // 3}))
    assert {"tucker2", "cp3", "svd"} <= set(chosen)


def test_uniform_leaves_the_preferred_method_where_the_budget_has_no_room_for_it(mixed):
    limits = {"macs": int(bottom(mixed, thriftiest(mixed, {"macs": 1})).macs * 1.1)}
    assert bottom(mixed, mixed.preferred).macs > limits["macs"]
    assert mixed.fits(uniform(mixed, limits), limits)
