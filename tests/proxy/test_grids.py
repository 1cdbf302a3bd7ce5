import itertools
from math import log

import pytest

from proxy.grids import Geometry, rank_grids

LARGE = Geometry((256, 128, 3, 3), 256, 784, 784, 196)
METHODS = ["spatial_svd", "tucker2", "cp3", "tucker2_cp3"]


@pytest.mark.parametrize("method", METHODS)
def test_every_point_is_cheaper_than_dense(method):
    assert all(p.macs < LARGE.macs and p.params < LARGE.params for p in rank_grids(LARGE)[method])


def test_the_top_is_break_even():
    top = rank_grids(LARGE)["cp3"][-1].ranks["rank"]
    assert LARGE.point("cp3", (top + 1,)).macs >= LARGE.macs


@pytest.mark.parametrize("method", METHODS)
def test_sixteen_points_even_in_log_macs(method):
    grid = rank_grids(LARGE)[method]
    steps = [log(b.macs / a.macs) for a, b in itertools.pairwise(grid)]
    assert len(grid) == 16
    assert max(steps) < 2 * min(steps)


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_at_the_lowest_fraction(method):
    assert 0.04 <= rank_grids(LARGE)[method][0].macs / LARGE.macs < 0.06


@pytest.mark.parametrize("method", METHODS)
def test_ranks_are_multiples_when_asked(method):
    for point in rank_grids(LARGE, rank_multiple=8)[method]:
        ranks = point.ranks.get("ranks", point.ranks)
        assert all(rank % 8 == 0 for rank in ranks.values())


def test_tucker_pairs_are_proportional_to_the_channels():
    for point in rank_grids(LARGE)["tucker2"]:
        assert point.ranks["ranks"]["out"] == pytest.approx(2 * point.ranks["ranks"]["in"], abs=1)


def test_a_core_has_a_rank_above_its_sides():
    for point in rank_grids(LARGE)["tucker2_cp3"]:
        ranks = point.ranks["ranks"]
        assert ranks["out"] == pytest.approx(2 * ranks["in"], abs=1)
        assert 0.85 < ranks["cp"] / (ranks["out"] + ranks["in"]) <= 1.4
        assert ranks["cp"] > max(ranks["out"], ranks["in"])


def test_a_single_input_channel_leaves_no_grid_for_a_core():
    assert "tucker2_cp3" not in rank_grids(Geometry((64, 1, 3, 3), 0, 784, 784, 784))


def test_a_layer_too_small_has_no_grid():
    assert rank_grids(Geometry((1, 8, 1, 1), 0, 10, 10, 10)) == {}


def test_a_small_layer_has_all_its_ranks():
    ranks = [point.ranks["rank"] for point in rank_grids(Geometry((10, 16), 10, 1, 1, 1))["svd"]]
    assert ranks == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (128, 64, 3, 3), (64, 64, 5, 5)])
def test_no_core_is_dearer_than_the_cp_it_amounts_to(shape):
    geometry = Geometry(shape, 0, 64, 64, 64)
    grid = rank_grids(geometry)["tucker2_cp3"]
    assert grid
    for point in grid:
        plain = geometry.point("cp3", (point.ranks["ranks"]["cp"],))
        assert plain.macs > point.macs or plain.params > point.params
