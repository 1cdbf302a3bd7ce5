from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.search.allocations import at_error
from service.search.feasibility import bottom, thriftiest
from service.search.frontier import frontier
from tests.service.search.strategies import budgets, spaces


@st.composite
def problems(draw, words=(("macs",), ("params",), ("macs", "params"))):
    space = draw(spaces(methods=3, sites=3, longest=4))
    least = bottom(space, thriftiest(space, {"macs": 1, "params": 1}))
    return space, draw(budgets(least, space.dense, words))


def options(space, chains):
    """Every site's options on its chain."""
    for row, site in enumerate(space.sites):
        at = [int(chains.positions(np.minimum(chains.top, level))[row]) for level in range(chains.top[row] + 1)]
        yield site, [site.options[position] for position in at]


@given(problems(words=(("macs",), ("params",))), st.floats(0, 1))
@settings(max_examples=60)
def test_under_one_bound_a_site_takes_the_cheapest_option_of_any_method(problem, error):
    space, limits = problem
    (word,) = limits
    chains = frontier(space, limits)
    chosen = chains.positions(at_error(chains, error))
    for site, at in zip(space.sites, chosen, strict=True):
        if len(site.chains) > 1:
            least = min(getattr(option, word) for option in site.options if option.relative_error <= error)
            assert getattr(site.options[at], word) == least
            assert site.options[at].relative_error <= error


@given(problems())
@settings(max_examples=60)
def test_up_a_chain_no_bounded_cost_falls(problem):
    space, limits = problem
    for _, chain in options(space, frontier(space, limits)):
        for word in limits:
            costs = [getattr(option, word) for option in chain]
            assert costs == sorted(costs)


@given(problems())
@settings(max_examples=60)
def test_up_a_chain_of_several_methods_the_error_falls(problem):
    space, limits = problem
    for site, chain in options(space, frontier(space, limits)):
        if len(site.chains) > 1:
            errors = [option.relative_error for option in chain[:-1]]
            assert all(later < earlier for earlier, later in itertools.pairwise(errors))
            assert chain[-1] == site.dense


@given(problems())
@settings(max_examples=60)
def test_the_bottoms_fit_together(problem):
    space, limits = problem
    chains = frontier(space, limits)
    least = bottom(space, thriftiest(space, limits))
    assert all(getattr(chains.cost(chains.top * 0), word) == getattr(least, word) for word in limits)


def test_a_site_with_one_method_has_its_chain(space):
    limits = {"macs": space.dense.macs // 2}
    (alone, whole) = (space.under(space.preferred), frontier(space, limits))
    assert (alone.top == whole.top).all()
    assert all((alone.positions(at) == whole.positions(at)).all() for at in (alone.top * 0, alone.top // 2, alone.top))


def integral(chain, limits):
    """Of the error over the share of the budget."""
    shares = [sum(getattr(option, word) / limit for word, limit in limits.items()) for option in chain]
    steps = itertools.pairwise(shares)
    return sum(option.relative_error * (to - at) for option, (at, to) in zip(chain[:-1], steps, strict=True))


def rises(chain, limits):
    return all(
        all(getattr(a, word) <= getattr(b, word) for word in limits)
        and any(getattr(a, word) < getattr(b, word) for word in limits)
        and a.relative_error > b.relative_error
        for a, b in itertools.pairwise(chain)
    )


@given(problems(words=(("macs", "params"),)))
@settings(max_examples=60)
def test_under_two_bounds_no_chain_has_less_error_over_the_budget(problem):
    space, limits = problem
    for site, chain in options(space, frontier(space, limits)):
        if len(site.chains) > 1:
            between = [option for option in site.options if option not in (chain[0], site.dense)]
            all_chains = (
                (
                    [chain[0], *some]
                    for size in range(len(between) + 1)
                    for some in itertools.permutations(between, size)
                    if rises([chain[0], *some], limits)
                )
                if len(between) <= 5
                else ()
            )
            least = min((integral([*one, site.dense], limits) for one in all_chains), default=None)
            if least is not None:
                assert integral(chain, limits) == pytest.approx(least)
