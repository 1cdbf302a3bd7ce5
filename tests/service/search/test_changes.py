"""Spaces judged by how far each layer alone moves the outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from service.search.allocations import equal_error
from service.search.changes import judged
from service.search.derivation import space_of
from tests.service import synthetic
from tests.service.search.strategies import spaces


def whole_table(space, change):
    return {
        site.name: [(at, change(row, at)) for at, option in enumerate(site.options) if option.ranks is not None]
        for row, site in enumerate(space.sites)
    }


@given(spaces(methods=3, sites=4, longest=6))
@settings(max_examples=60)
def test_errors_are_roots_of_changes_and_dense_layers_have_none(space):
    found = judged(space, whole_table(space, lambda row, at: 1.0 + row + 10 * at))
    for row, site in enumerate(space.sites):
        for at, option in enumerate(site.options):
            wanted = 0.0 if option.ranks is None else (1.0 + row + 10 * at) ** 0.5
            assert found.errors[row, at] == pytest.approx(wanted)
    assert (found.errors[~space.exists] == 0).all()


def test_everything_else_stays_and_the_space_itself_too():
    space = space_of(synthetic.profile(), ["cp3"])
    before = space.errors.copy()
    found = judged(space, whole_table(space, lambda _row, _at: 0.25))
    assert (space.errors == before).all()
    assert found.costs is space.costs
    assert found.sites == space.sites


def test_between_known_positions_changes_are_interpolated_and_below_nought_they_are_none():
    space = space_of(synthetic.profile(), ["cp3"])
    table = {site.name: [(0, 0.9), (2, 0.5), (6, -0.1)] for site in space.sites}
    squares = judged(space, table).errors[0] ** 2
    assert squares[:8] == pytest.approx([0.9, 0.7, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0])


def test_a_method_that_is_not_in_the_table_is_as_bad_as_the_worst():
    sites = [
        synthetic.with_methods(
            synthetic.site(f"l{at}", 10_000, 900), synthetic.site(f"l{at}", 10_000, 900, method="svd")
        )
        for at in range(2)
    ]
    space = space_of(synthetic.profile(sites), ["cp3", "svd"])
    table = {site.name: [(0, 0.9), (6, 0.1)] for site in space.sites}
    errors = judged(space, table).errors
    assert errors[0, 8:15] == pytest.approx([0.9**0.5] * 7)


@given(spaces(methods=1, sites=4, longest=6))
@settings(max_examples=40)
def test_equal_error_is_then_the_greedy_selection(space):
    """Every site the cheapest option within one bound, the bound the least that fits: tried one after another."""
    rng = np.random.default_rng(len(space))
    falling = {site.name: np.sort(rng.uniform(0.01, 1, len(site.options) - 1))[::-1] for site in space.sites}
    table = {name: list(enumerate(values)) for name, values in falling.items()}
    limits = {"macs": space.dense.macs * 0.6}
    cheapest = np.zeros(len(space), dtype=np.int64)
    if not space.fits(cheapest, limits):
        return
    found = equal_error(judged(space, table), limits)
    best = cheapest
    for bound in sorted({float(value) for some in falling.values() for value in some} | {0.0}, reverse=True):
        levels = [next((at for at, c in table[s.name] if c <= bound), len(table[s.name])) for s in space.sites]
        if not space.fits(np.array(levels), limits):
            break
        best = np.array(levels)
    assert (found >= best).all()  # what is left of the budget goes to the largest changes
    assert space.fits(found, limits)
