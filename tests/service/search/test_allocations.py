from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksearch.contracts.errors import BudgetInfeasible
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.studies import Constraints
from service.search.allocations import at_error, at_fraction, check_feasible, equal_error, percent_for, uniform


def half(space):
    return {"macs": space.dense.macs // 2}


@pytest.mark.parametrize("allocation", [uniform, equal_error])
def test_an_allocation_fits_and_uses_the_budget_up(space, allocation):
    positions = allocation(space, half(space))
    assert space.fits(positions, half(space))
    for site in range(len(space)):
        raised = positions.copy()
        raised[site] += 1
        assert not space.fits(raised, half(space))


def test_a_smaller_error_bound_never_lowers_a_position(space):
    bounds = sorted(set(space.errors.ravel()), reverse=True)
    chosen = [at_error(space, bound) for bound in bounds]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(chosen))


def test_a_larger_fraction_never_lowers_a_position(space):
    chosen = [at_fraction(space, Fraction(tenth, 10)) for tenth in range(11)]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(chosen))


def test_equal_error_starts_from_the_best_bound_that_fits(space):
    positions = equal_error(space, half(space))
    feasible = [b for b in set(space.errors.ravel()) if space.fits(at_error(space, b), half(space))]
    assert (positions >= at_error(space, min(feasible))).all()


def test_equal_error_gives_the_sensitive_layer_the_larger_share(space):
    positions = equal_error(space, half(space))
    shares = [site.options[at].macs / site.options[-1].macs for site, at in zip(space.sites, positions, strict=True)]
    assert shares[0] > shares[-1]  # the last layer's error falls fastest with its rank


@pytest.mark.parametrize("word", ["macs", "params"])
def test_the_nearest_feasible_budget_is_feasible_as_a_number_and_as_a_percentage(space, word):
    with pytest.raises(BudgetInfeasible) as caught:
        check_feasible(space, {word: 1})
    nearest = caught.value.extra["nearest_feasible"]
    for bound in (nearest[word], nearest[f"{word}_percent"]):
        check_feasible(space, Constraints.model_validate({word: bound}).limits(space.dense))


@given(st.integers(1, 10**12).flatmap(lambda dense: st.tuples(st.integers(1, dense), st.just(dense))))
def test_the_percentage_is_rounded_up(needed_and_dense):
    needed, dense = needed_and_dense
    bound = Constraints.model_validate({"macs": percent_for(needed, dense)}).limits
    assert bound(Cost(macs=dense, params=1))["macs"] >= needed


def test_both_missed_bounds_are_named(space):
    with pytest.raises(BudgetInfeasible) as caught:
        check_feasible(space, {"macs": 1, "params": 1})
    assert set(caught.value.extra["nearest_feasible"]) == {"macs", "macs_percent", "params", "params_percent"}


def test_the_cheapest_budget_gives_the_cheapest_choice(space):
    limits = {"macs": space.cheapest().macs}
    assert (equal_error(space, limits) == np.zeros(len(space))).all()
