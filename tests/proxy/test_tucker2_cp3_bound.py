import pytest

import proxy
from tests.proxy.conftest import seeded
from tests.proxy.test_low_rank_cp import low_rank_tensor


def params(ranks, size):
    return ranks["out"] * size[0] + ranks["in"] * size[1] + ranks["cp"] * (ranks["out"] + ranks["in"] + size[2])


@pytest.mark.parametrize("solver", ["epc", "als"])
@pytest.mark.parametrize("bound", [0.3, 0.6])
def test_the_method_meets_the_bound_at_these_ranks(bound, solver):
    weight = low_rank_tensor((12, 10, 9), (5, 4, 8), 8).view(12, 10, 3, 3) + 0.03 * seeded(12, 10, 3, 3, seed=70)
    ranks = proxy.ranks_for_error(weight, "tucker2_cp3", bound, solver=solver)
    assert proxy.decompose(weight, "tucker2_cp3", ranks, solver=solver).relative_error <= bound


def test_the_ranks_of_an_exact_kernel_under_noise_are_found():
    tensor, noise = low_rank_tensor((12, 10, 9), (3, 4, 8), 8), seeded(12, 10, 9, seed=60)
    weight = (tensor + 0.05 * noise * tensor.norm() / noise.norm()).view(12, 10, 3, 3)
    ranks = proxy.ranks_for_error(weight, "tucker2_cp3", 0.06, solver="als")["ranks"]
    assert params(ranks, (12, 10, 9)) <= params({"out": 3, "in": 4, "cp": 8}, (12, 10, 9))


def test_about_as_few_parameters_as_any_ranks():
    """Against the method itself at every triple of ranks up to the plain CP's."""
    weight = seeded(5, 4, 2, 2)
    options = {"solver": "als"}
    bound = 0.6
    fitting = [
        params({"out": a, "in": b, "cp": c}, (5, 4, 4))
        for a in range(1, 6)
        for b in range(1, 5)
        for c in range(1, min(a * b, 4 * a, 4 * b, 10) + 1)
        if proxy.decompose(weight, "tucker2_cp3", (a, b, c), **options).relative_error <= bound
    ]
    found = proxy.ranks_for_error(weight, "tucker2_cp3", bound, **options)["ranks"]
    assert params(found, (5, 4, 4)) <= 1.1 * min(fitting)


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_meet_the_bound_together(transposed):
    options = {"groups": 2, "transposed": transposed}
    weight = proxy.Layout(2, transposed).weight(seeded(2, 8, 7, 3, 3))
    ranks = proxy.ranks_for_error(weight, "tucker2_cp3", 0.6, **options)
    assert proxy.decompose(weight, "tucker2_cp3", ranks, **options).relative_error <= 0.6


def test_an_unreachable_bound_gives_the_maximum():
    ranks = proxy.ranks_for_error(seeded(4, 3, 1, 2), "tucker2_cp3", 0.0, max_sweeps=3)
    assert ranks == {"ranks": {"out": 4, "in": 3, "cp": 6}}
