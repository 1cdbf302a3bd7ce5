import pytest
import torch

import proxy
from proxy.errors import RankOutOfRange
from tests.proxy.conftest import cp_tensor, seeded


def test_every_rung_has_its_rank_and_tells_its_error():
    weight = seeded(8, 7, 3, 3)
    found = proxy.rank_ladder(weight, "cp3", [20, 3, 9, 3])
    assert [factors.ranks for factors in found] == [(20,), (3,), (9,), (3,)]
    for factors in found:
        expected = (factors.reconstruct() - weight).norm() / weight.norm()
        assert factors.relative_error == pytest.approx(float(expected), rel=1e-6)


def test_the_errors_fall_and_stay_near_those_of_a_start_afresh():
    weight = seeded(8, 7, 3, 3)
    ranks = [2, 4, 8, 12, 16]
    errors = [factors.relative_error for factors in proxy.rank_ladder(weight, "cp3", ranks)]
    assert errors == sorted(errors, reverse=True)
    afresh = [factors.relative_error for factors in proxy.decompose_many([(weight, "cp3", r) for r in ranks])]
    assert all(error < 1.15 * cold for error, cold in zip(errors, afresh, strict=True))


def test_more_sweeps_lower_the_errors():
    weight = seeded(8, 7, 3, 3)
    few, many = (proxy.rank_ladder(weight, "cp3", [2, 20], sweeps=n)[1].relative_error for n in (1, 20))
    assert many < few


def test_a_residual_of_nothing_adds_nothing():
    found = proxy.rank_ladder(cp_tensor(6, 6, 9, 2), "cp3", [2, 9], max_sweeps=300, tolerance=1e-9)
    assert found[1].relative_error < 1e-3
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found[1].tensors.values())


def test_groups_climb_on_their_own():
    weight = seeded(8, 4, 3, 3)
    found = proxy.rank_ladder(weight, "cp3", [2, 5], groups=2)
    assert found[1].layout.groups == 2
    assert found[1].tensors["out"].shape == (8, 5)
    assert (found[1].reconstruct() - weight).norm() / weight.norm() == pytest.approx(found[1].relative_error)


@pytest.mark.parametrize(("method", "ranks"), [("tucker2", [(2, 2), (4, 3)]), ("spatial_svd", [2, 5])])
def test_other_methods_are_decomposed_as_ever(method, ranks):
    weight = seeded(8, 7, 3, 3)
    found = proxy.rank_ladder(weight, method, ranks)
    for factors, rank in zip(found, ranks, strict=True):
        expected = proxy.decompose(weight, method, rank)
        assert all(torch.equal(factors.tensors[name], expected.tensors[name]) for name in expected.tensors)


def test_an_all_zero_layer_climbs_nowhere():
    assert [f.relative_error for f in proxy.rank_ladder(torch.zeros(4, 4, 3, 3), "cp3", [1, 3])] == [0, 0]


def test_many_ladders_side_by_side():
    first, second = seeded(8, 7, 3, 3), seeded(6, 5, 3, 3, seed=1)
    together = proxy.rank_ladders([(first, "cp3", [2, 6]), (second, "cp3", [3])])
    assert torch.equal(together[0][1].tensors["out"], proxy.rank_ladder(first, "cp3", [2, 6])[1].tensors["out"])
    assert together[1][0].ranks == (3,)


def test_a_ladder_without_sweeps_is_refused():
    with pytest.raises(RankOutOfRange, match="a sweep"):
        proxy.rank_ladder(seeded(4, 4, 3, 3), "cp3", [1], sweeps=0)
