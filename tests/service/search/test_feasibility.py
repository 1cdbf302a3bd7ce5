from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksearch.contracts.errors import BudgetInfeasible
from ranksearch.contracts.goals import Constraints
from ranksearch.contracts.profiles import Cost
from service.search.feasibility import affordable, bottom, check_feasible, percent_for, thriftiest
from tests.service.search.strategies import budgets, spaces


def selections(space):
    """All of them."""
    return [np.array(one) for one in itertools.product(*(range(count) for count in space.method_counts))]


@st.composite
def problems(draw, words=(("macs",), ("params",), ("macs", "params"))):
    """A space of several methods, and a budget that is the least of some selection or more."""
    space = draw(spaces(methods=3, sites=4, longest=4))
    limits = draw(budgets(bottom(space, draw(st.sampled_from(selections(space)))), space.dense, words))
    return space, limits


@given(problems(words=(("macs",), ("params",))))
@settings(max_examples=60)
def test_no_selection_is_thriftier_under_one_bound(problem):
    space, limits = problem
    (word,) = limits
    least = min(getattr(bottom(space, one), word) for one in selections(space))
    assert getattr(bottom(space, thriftiest(space, limits)), word) == least


@given(problems())
@settings(max_examples=60)
def test_what_is_refused_is_accepted_at_the_nearest_budget(problem):
    space, limits = problem
    for shrunk in ({word: max(1, limit // 3) for word, limit in limits.items()}, {**limits, "macs": 1}):
        try:
            check_feasible(space, shrunk)
        except BudgetInfeasible as error:
            nearest = error.extra["nearest_feasible"]
            check_feasible(space, {word: nearest.get(word, limit) for word, limit in shrunk.items()})


@given(problems(), st.data())
@settings(max_examples=60)
def test_an_affordable_selection_leaves_something_that_fits(problem, data):
    space, limits = problem
    try:
        check_feasible(space, limits)
    except BudgetInfeasible:
        return
    wanted = data.draw(st.sampled_from(selections(space)))
    given_back = affordable(space, wanted, limits)
    fits = all(getattr(bottom(space, given_back), word) <= limit for word, limit in limits.items())
    wanted_fits = all(getattr(bottom(space, wanted), word) <= limit for word, limit in limits.items())
    assert fits
    assert not wanted_fits or (given_back == wanted).all()


def test_only_the_sites_that_must_change_their_method(mixed):
    preferred, thrifty = mixed.preferred, thriftiest(mixed, {"macs": 1})
    least, most = (bottom(mixed, one).macs for one in (thrifty, preferred))
    chosen = affordable(mixed, preferred, {"macs": (least + most) // 2})
    assert 0 < (chosen != preferred).sum() < (thrifty != preferred).sum()


def test_of_two_bounds_the_tighter_one_decides(mixed):
    """Svd has the fewest params and cp3 the fewest macs at the bottom."""
    dense = mixed.dense
    few_macs = thriftiest(mixed, {"macs": dense.macs // 50, "params": dense.params})
    few_params = thriftiest(mixed, {"macs": dense.macs, "params": dense.params // 50})
    assert bottom(mixed, few_macs).macs < bottom(mixed, few_params).macs
    assert bottom(mixed, few_macs).params > bottom(mixed, few_params).params


@pytest.mark.parametrize("word", ["macs", "params"])
def test_the_nearest_feasible_budget_is_feasible_as_a_number_and_as_a_percentage(space, word):
    with pytest.raises(BudgetInfeasible) as caught:
        check_feasible(space, {word: 0})  # what a tiny percentage rounds to
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
