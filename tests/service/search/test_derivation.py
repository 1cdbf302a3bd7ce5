from __future__ import annotations

import pytest

from ranksearch.contracts.errors import BudgetInfeasible, InputError, RanksError
from ranksearch.contracts.profiles import ModelProfile
from service.search.derivation import space_of
from service.search.feasibility import bottom, check_feasible
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


def timed_profile(point_ms, dense_ms=2.0, whole_ms=20.0):
    """Three alike layers; ``point_ms`` are the latencies along the grid."""
    sites = [synthetic.site(f"layer{i}", 10_000, 100, points=len(point_ms)) for i in range(3)]
    for site in sites:
        site["latency_ms"] = dense_ms
        for point, ms in zip(site["grids"]["cp3"], point_ms, strict=True):
            point["latency_ms"] = ms
    given = synthetic.profile(sites).model_dump(by_alias=True)
    given["latency"] = {"latency_ms": whole_ms, "device": "cpu", "dtype": "float32", "batch": 1, "backend": "torch"}
    return ModelProfile.model_validate(given)


def test_an_option_is_priced_at_the_slowest_below_it_and_never_above_the_dense_layer():
    space = space_of(timed_profile([0.5, 0.9, 0.7, 3.0]), ["cp3"], latency=True)
    assert [option.latency_ms for option in space.sites[0].options] == [0.5, 0.9, 0.9, 2.0, 2.0]


def test_layers_that_take_longer_alone_than_in_the_network_are_scaled_to_it():
    space = space_of(timed_profile([0.5, 1.0], dense_ms=4.0, whole_ms=6.0), ["cp3"], latency=True)
    assert [option.latency_ms for option in space.sites[0].options] == [0.25, 0.5, 2.0]
    assert space.whole["latency_ms"] == 6.0


def test_without_a_latency_asked_for_none_is_priced():
    assert "latency_ms" not in space_of(timed_profile([0.5, 1.0]), ["cp3"]).costs


def test_a_profile_without_latencies_cannot_bound_them():
    with pytest.raises(InputError) as raised:
        space_of(synthetic.profile(), ["cp3"], latency=True)
    assert raised.value.code == "latency_unknown"
    assert "inspect" in raised.value.mend


def test_a_latency_below_the_fastest_ranks_is_refused_with_the_nearest():
    space = space_of(timed_profile([0.5, 1.0]), ["cp3"], latency=True)
    with pytest.raises(BudgetInfeasible) as raised:
        check_feasible(space, {"latency_ms": 10.0})
    nearest = raised.value.extra["nearest_feasible"]
    assert nearest["latency_ms"] == pytest.approx(15.5)
    check_feasible(space, {"latency_ms": nearest["latency_ms"]})
    assert nearest["latency_ms_percent"] == "77.5%"
