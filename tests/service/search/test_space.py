from __future__ import annotations

import numpy as np
import pytest

from ranksearch.contracts.errors import InputError, RanksError
from service.search.space import space_of
from tests.service import synthetic


def test_the_top_of_every_site_is_its_dense_layer(space):
    assert space.cost(space.top) == space.dense


def test_the_cost_is_the_dense_cost_with_the_sites_replaced(space):
    positions = np.array([0, 1, 2, 3])
    options = [site.options[at] for site, at in zip(space.sites, positions, strict=True)]
    saved = sum(site.options[-1].macs for site in space.sites) - sum(option.macs for option in options)
    assert space.cost(positions).macs == space.dense.macs - saved


def test_sites_at_their_top_are_left_out_of_the_ranks(space):
    positions = space.top.copy()
    positions[1] = 2
    assert list(space.ranks(positions)) == ["layer1.conv"]


def test_a_layer_takes_the_first_method_it_has_a_grid_for():
    both = synthetic.site("both", 10_000, 100) | {
        "grids": {
            **synthetic.site("both", 10_000, 100, method="svd")["grids"],
            **synthetic.site("both", 10_000, 100)["grids"],
        }
    }
    only_cp3 = synthetic.site("only", 10_000, 100)
    space = space_of(synthetic.profile([both, only_cp3]), ["svd", "cp3"])
    assert [site.options[0].ranks.method for site in space.sites] == ["svd", "cp3"]


def test_methods_without_any_grid_are_refused_with_those_that_have_one():
    with pytest.raises(InputError) as caught:
        space_of(synthetic.profile(), ["svd", "tucker2"])
    assert caught.value.code == "unsupported_method"
    assert caught.value.extra["offered"] == ["cp3"]


def test_a_model_without_a_free_site_is_refused():
    with pytest.raises(InputError) as caught:
        space_of(synthetic.profile([synthetic.dense_site("first")]), ["cp3"])
    assert caught.value.code == "nothing_to_compress"


def test_options_rise_in_both_costs_even_where_a_grid_does_not():
    layer = synthetic.site("strided", 10_000, 100)
    layer["grids"]["cp3"][2]["params"] = 99  # spends params to save macs
    (site,) = space_of(synthetic.profile([layer]), ["cp3"]).sites
    params = [option.params for option in site.options]
    assert params == sorted(params)
    assert len(params) == 7  # one point left out, the dense layer added


def test_a_layer_kept_dense_is_not_free():
    space = space_of(synthetic.profile(), ["cp3"], ["layer1.conv"])
    assert [site.name for site in space.sites] == ["layer0.conv", "layer2.conv", "layer3.conv"]


def test_a_layer_kept_dense_still_costs():
    profile = synthetic.profile()
    space = space_of(profile, ["cp3"], ["layer1.conv"])
    assert space.cost(space.top) == profile.dense
    assert space.cheapest().macs >= profile.sites[1].macs


def test_an_unknown_layer_is_answered_with_the_nearest_names():
    with pytest.raises(RanksError, match=r"layer1\.conv") as error:
        space_of(synthetic.profile(), ["cp3"], ["layer1.con"])
    assert error.value.code == "unknown_layer"


def test_keeping_every_layer_dense_leaves_nothing_to_compress():
    with pytest.raises(InputError) as error:
        space_of(synthetic.profile(), ["cp3"], [f"layer{i}.conv" for i in range(4)])
    assert error.value.code == "nothing_to_compress"
