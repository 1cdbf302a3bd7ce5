from itertools import pairwise

import pytest
import torch

import proxy
from proxy.rank_rules import ENERGIES, STEPS
from tests.proxy.conftest import seeded

WEIGHTS = {
    "convolution": (seeded(12, 10, 3, 3), proxy.Layout()),
    "pointwise": (seeded(12, 10, 1, 1), proxy.Layout()),
    "linear": (seeded(9, 14), proxy.Layout()),
    "grouped": (seeded(12, 5, 3, 3), proxy.Layout(groups=2)),
    "transposed": (seeded(10, 12, 3, 3), proxy.Layout(transposed=True)),
    "low rank": (torch.einsum("tr,rskl->tskl", seeded(12, 3), seeded(3, 10, 3, 3, seed=1)), proxy.Layout()),
}


@pytest.fixture(params=WEIGHTS)
def weight(request):
    return WEIGHTS[request.param]


def values(ranks):
    return list(ranks.get("ranks", ranks).values())


@pytest.mark.parametrize(("name", "method"), [("convolution", "tucker2"), ("pointwise", "svd"), ("linear", "svd")])
def test_the_method_is_tucker2_but_for_matrices(name, method):
    weight, layout = WEIGHTS[name]
    assert proxy.rank_rules(weight, layout=layout)[0] == method


def test_every_rule_has_as_many_steps(weight):
    _, rules = proxy.rank_rules(weight[0], layout=weight[1])
    assert {name: len(steps) for name, steps in rules.items()} == {"vbmf": STEPS, "energy": STEPS}


def test_no_rank_ever_falls(weight):
    _, rules = proxy.rank_rules(weight[0], layout=weight[1])
    for steps in rules.values():
        for lower, upper in pairwise(steps):
            assert all(a <= b for a, b in zip(values(lower), values(upper), strict=True))


def test_the_energies_rise_and_lie_closer_towards_the_top():
    gaps = [upper - lower for lower, upper in pairwise(ENERGIES)]
    assert (ENERGIES[0], ENERGIES[-1]) == (0.3, 0.999)
    assert all(gap > 0 for gap in gaps)
    assert gaps[-1] < gaps[0] / 5


def test_the_energy_rule_is_energy_ranks(weight):
    method, rules = proxy.rank_rules(weight[0], layout=weight[1])
    layout = {"groups": weight[1].groups, "transposed": weight[1].transposed}
    assert rules["energy"] == [proxy.energy_ranks(weight[0], method, energy=energy, **layout) for energy in ENERGIES]


def test_the_vbmf_rule_goes_through_vbs_own_ranks_to_the_full_ones(weight):
    method, rules = proxy.rank_rules(weight[0], layout=weight[1])
    layout = {"groups": weight[1].groups, "transposed": weight[1].transposed}
    expected = [proxy.vbmf_ranks(weight[0], method, weakening=1 - step / 8, **layout) for step in range(9)]
    assert rules["vbmf"][7:] == expected


def test_below_vbs_ranks_it_takes_eighths_of_them():
    weight = torch.zeros(40, 40, 1, 1, dtype=torch.float64)
    weight[:16, :16, 0, 0] = torch.eye(16)
    weight += 1e-6 * seeded(40, 40, 1, 1)
    _, rules = proxy.rank_rules(weight)
    assert [step["rank"] for step in rules["vbmf"][:8]] == [2, 4, 6, 8, 10, 12, 14, 16]


def test_a_site_tells_what_any_ranks_cost(small):
    site = proxy.find_sites(small, torch.zeros(1, 3, 12, 12))[1]
    point = site.grids["tucker2"][3]
    assert site.point("tucker2", point.ranks) == point
    assert site.point("tucker2", {"ranks": {"out": 16, "in": 12}}).macs > site.macs


def test_a_site_refuses_ranks_that_it_cannot_have(small):
    site = proxy.find_sites(small, torch.zeros(1, 3, 12, 12))[1]
    with pytest.raises(proxy.RankOutOfRange):
        site.point("tucker2", {"ranks": {"out": 17, "in": 12}})


def test_a_layer_without_a_weight_has_no_price():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = torch.nn.Conv2d(3, 3, 1), torch.nn.LazyConv2d(4, 3)

        def forward(self, x):
            return self.used(x)

    spare = proxy.find_sites(Net(), torch.zeros(1, 3, 4, 4))[1]
    with pytest.raises(proxy.UnsupportedMethod):
        spare.point("tucker2", {"ranks": {"out": 1, "in": 1}})
