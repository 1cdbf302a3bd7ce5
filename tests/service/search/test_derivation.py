from __future__ import annotations

import pytest

from ranksearch.contracts.errors import InputError, RanksError
from service.search.derivation import space_of
from service.search.feasibility import bottom
from tests.service import synthetic


@pytest.fixture
def profile():
    """A layer with grids for two methods, and one with a grid for cp3 only."""
    svd, cp3 = (synthetic.site("both", 10_000, 100, method=method) for method in ("svd", "cp3"))
    return synthetic.profile([synthetic.with_methods(svd, cp3), synthetic.site("only", 10_000, 100)])


def test_a_layer_has_all_the_methods_asked_for_that_it_has_a_grid_for(profile):
    space = space_of(profile, ["cp3", "tucker2", "svd"])
    assert {site.name: site.methods for site in space.sites} == {"both": ("cp3", "svd"), "only": ("cp3",)}


def test_a_layer_has_its_methods_in_the_order_asked_for(profile):
    assert space_of(profile, ["svd", "cp3"]).sites[0].methods == ("svd", "cp3")


def test_a_layer_has_no_method_that_was_not_asked_for(profile):
    assert [site.methods for site in space_of(profile, ["cp3"]).sites] == [("cp3",), ("cp3",)]


def test_dense_among_the_methods_changes_nothing(profile):
    assert space_of(profile, ["cp3", "dense", "svd"]).sites == space_of(profile, ["cp3", "svd"]).sites


def test_a_method_named_twice_is_one_method(profile):
    """New studies that name one twice are refused; the stored ones of before are not."""
    assert space_of(profile, ["cp3", "svd", "cp3"]).sites == space_of(profile, ["cp3", "svd"]).sites


def test_a_method_whose_grid_saves_nothing_is_left_out():
    svd, cp3 = (synthetic.site("both", 10_000, 100, method=method) for method in ("svd", "cp3"))
    for point in svd["grids"]["svd"]:
        point["macs"] = 10_000
    profile = synthetic.profile([synthetic.with_methods(svd, cp3)])
    assert space_of(profile, ["svd", "cp3"]).sites[0].methods == ("cp3",)


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
    assert space.dense == profile.dense
    assert bottom(space, space.preferred).macs >= profile.sites[1].macs


def test_an_unknown_layer_is_answered_with_the_nearest_names():
    with pytest.raises(RanksError, match=r"layer1\.conv") as error:
        space_of(synthetic.profile(), ["cp3"], ["layer1.con"])
    assert error.value.code == "unknown_layer"


def test_keeping_every_layer_dense_leaves_nothing_to_compress():
    with pytest.raises(InputError) as error:
        space_of(synthetic.profile(), ["cp3"], [f"layer{i}.conv" for i in range(4)])
    assert error.value.code == "nothing_to_compress"
