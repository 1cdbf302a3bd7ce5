import pytest
import torch

import proxy
from tests.proxy.conftest import seeded


def test_svd_needs_the_least_rank_within_the_bound():
    weight = seeded(20, 30)
    rank = proxy.ranks_for_error(weight, "svd", 0.4)["rank"]
    assert proxy.decompose(weight, "svd", rank).relative_error <= 0.4
    assert proxy.decompose(weight, "svd", rank - 1).relative_error > 0.4


def test_cp3_meets_the_bound_and_one_less_does_not():
    weight = seeded(10, 9, 3, 3)
    rank = proxy.ranks_for_error(weight, "cp3", 0.5)["rank"]
    assert proxy.decompose(weight, "cp3", rank).relative_error <= 0.5
    assert proxy.decompose(weight, "cp3", rank - 1).relative_error > 0.5


@pytest.mark.parametrize("method", ["spatial_svd", "tucker2", "cp3", "tucker2_cp3"])
@pytest.mark.parametrize("solver", ["epc", "als", "tensorly"])
def test_every_method_meets_the_bound(method, solver):
    weight = seeded(8, 7, 3, 3)
    ranks = proxy.ranks_for_error(weight, method, 0.6, solver=solver, max_sweeps=20)
    assert proxy.decompose(weight, method, ranks, solver=solver, max_sweeps=20).relative_error <= 0.6


@pytest.mark.parametrize("method", ["svd", "spatial_svd", "tucker2", "cp3", "tucker2_cp3"])
def test_an_all_zero_weight_needs_rank_one(method):
    ranks = proxy.ranks_for_error(torch.zeros((8, 7) if method == "svd" else (8, 7, 3, 3)), method, 0.1)
    assert set(ranks.get("ranks", ranks).values()) == {1}


def test_tucker2_finds_exact_ranks():
    out, core, inn = seeded(12, 3), seeded(3, 4, 9, seed=1), seeded(10, 4, seed=2)
    weight = torch.einsum("ta,abd,sb->tsd", out, core, inn)
    assert proxy.ranks_for_error(weight, "tucker2", 1e-4) == {"ranks": {"out": 3, "in": 4}}


def test_tucker2_is_as_cheap_as_brute_force():
    weight = seeded(6, 5, 2, 2)
    found = proxy.ranks_for_error(weight, "tucker2", 0.6)["ranks"]

    def params(out, inn):
        return 6 * out + 5 * inn + 4 * out * inn

    fitting = [
        params(out, inn)
        for out in range(1, 7)
        for inn in range(1, 6)
        if proxy.decompose(weight, "tucker2", (out, inn)).relative_error <= 0.6
    ]
    assert params(found["out"], found["in"]) <= 1.05 * min(fitting)


def test_an_unreachable_bound_gives_the_maximum():
    assert proxy.ranks_for_error(seeded(6, 5), "svd", 0.0) == {"rank": 5}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("method", "size"), [("svd", (1, 1)), ("spatial_svd", (3, 3)), ("cp3", (3, 3))])
def test_the_bound_is_on_all_groups_together(method, size, transposed):
    layout = proxy.Layout(2, transposed)
    weight = layout.weight(torch.stack([seeded(8, 7, *size), seeded(8, 7, *size, seed=1) / 2]))
    options = {"groups": 2, "transposed": transposed}
    rank = proxy.ranks_for_error(weight, method, 0.5, **options)["rank"]
    assert proxy.decompose(weight, method, rank, **options).relative_error <= 0.5
    assert proxy.decompose(weight, method, rank - 1, **options).relative_error > 0.5


def test_tucker2_finds_the_larger_ranks_of_two_groups():
    kernels = [
        torch.einsum("ta,abd,sb->tsd", seeded(9, *r[:1]), seeded(*r, 9, seed=1), seeded(8, r[1], seed=2)).view(
            9, 8, 3, 3
        )
        for r in ((3, 2), (2, 4))
    ]
    weight = proxy.Layout(2).weight(torch.stack(kernels))
    assert proxy.ranks_for_error(weight, "tucker2", 1e-4, groups=2) == {"ranks": {"out": 3, "in": 4}}
