from __future__ import annotations

import numpy as np
import pytest

from service.search.space import Site


def top(space):
    chains = space.under(space.preferred)
    return chains.positions(chains.top)


def test_the_top_of_every_site_is_its_dense_layer(space):
    assert space.cost(top(space)) == space.dense


def test_the_cost_is_the_dense_cost_with_the_sites_replaced(space):
    positions = np.array([0, 1, 2, 3])
    options = [site.options[at] for site, at in zip(space.sites, positions, strict=True)]
    saved = sum(site.dense.macs for site in space.sites) - sum(option.macs for option in options)
    assert space.cost(positions).macs == space.dense.macs - saved


def test_sites_at_their_top_are_left_out_of_the_ranks(space):
    positions = top(space)
    positions[1] = 2
    assert list(space.ranks(positions)) == ["layer1.conv"]


def test_a_site_with_one_method_numbers_its_options_up_its_chain(space):
    """What the trials of studies from before there was a choice of methods are stored as."""
    chains = space.under(space.preferred)
    for level in range(int(chains.top.max()) + 1):
        assert (chains.positions(np.minimum(level, chains.top)) == np.minimum(level, chains.top)).all()


def test_a_further_method_renumbers_nothing(mixed):
    for site in mixed.sites:
        alone = Site(site.name, site.chains[:1], site.dense)
        assert site.options[: len(alone.options)] == alone.options


def test_every_option_has_one_position(mixed):
    for site in mixed.sites:
        assert len(set(site.options)) == len(site.options) == sum(map(len, site.chains)) + 1


def test_under_a_selection_every_site_has_that_methods_chain(mixed):
    for method in range(3):
        selection = np.minimum(method, mixed.method_counts - 1)
        chains = mixed.under(selection)
        for row, site in enumerate(mixed.sites):
            chain = (*site.chains[selection[row]], site.dense)
            found = [site.options[chains.positions(np.minimum(at, chains.top))[row]] for at in range(len(chain))]
            assert tuple(found) == chain
            assert chains.top[row] == len(chain) - 1


def test_positions_say_method_and_level(mixed):
    rng = np.random.default_rng(0)
    for _ in range(20):
        selection = rng.integers(mixed.method_counts)
        chains = mixed.under(selection)
        levels = rng.integers(chains.top + 1)
        positions = chains.positions(levels)
        assert (mixed.selection(positions, selection) == selection).all()
        assert (mixed.levels(positions, selection) == levels).all()
        assert mixed.cost(positions) == chains.cost(levels)
        assert (mixed.error(positions) == chains.error(levels)).all()


def test_the_dense_layer_is_the_top_of_every_chain(mixed):
    for method in range(3):
        selection = np.minimum(method, mixed.method_counts - 1)
        chains = mixed.under(selection)
        assert (chains.positions(chains.top) == top(mixed)).all()
        assert (mixed.levels(top(mixed), selection) == chains.top).all()


def test_levels_are_carried_to_the_same_macs(mixed):
    """Tucker-2 costs level + 1 sevenths of the dense layer, cp3 level + 1 twelfths."""
    there = np.where(mixed.method_counts > 1, 1, 0)
    carried = mixed.carried(np.full(9, 2.5), mixed.preferred, there)
    assert carried[:8] == pytest.approx(np.full(8, 3.5 / 7 * 12 - 1), abs=0.01)
    assert carried[8] == 2.5


def test_levels_beyond_a_chain_are_carried_to_its_end(mixed):
    there = np.where(mixed.method_counts > 1, 1, 0)
    up, down = (mixed.carried(np.full(9, far), mixed.preferred, there) for far in (99.0, -99.0))
    assert (up[:8] == mixed.under(there).top[:8]).all()
    assert down[:8] == pytest.approx(np.full(8, 12 / 7 - 1), abs=0.01)  # the macs of Tucker-2's own end


def test_ranks_name_their_method(mixed):
    chains = mixed.under(np.minimum(2, mixed.method_counts - 1))
    ranks = mixed.ranks(chains.positions(chains.top // 2))
    assert {name: chosen.method for name, chosen in ranks.items()} == {
        **{f"layer{i}": "svd" for i in range(8)},
        "layer8": "cp3",
    }
