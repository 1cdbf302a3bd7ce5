import pytest
import torch

import proxy
from worker.evaluation import latency_table
from worker.evaluation.latency_table import layer_times

IMAGE = torch.zeros(1, 3, 16, 16)


class Stack(torch.nn.Module):
    """Two layers of one geometry, one called twice, a grouped and a transposed one, a spare."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 24, 3, padding=1)
        self.one = torch.nn.Conv2d(24, 24, 3, padding=1)
        self.two = torch.nn.Conv2d(24, 24, 3, padding=1)
        self.twice = torch.nn.Conv2d(24, 24, 3, padding=1, bias=False)
        self.grouped = torch.nn.Conv2d(24, 24, 3, stride=2, groups=2)
        self.up = torch.nn.ConvTranspose2d(24, 16, 3, stride=2)
        self.head = torch.nn.Linear(16, 12)
        self.spare = torch.nn.Linear(16, 12)

    def forward(self, x):
        x = self.two(self.one(self.stem(x)))
        x = self.up(self.grouped(self.twice(self.twice(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Stack().eval()


@pytest.fixture
def sites(network):
    return proxy.find_sites(network, IMAGE)


@pytest.fixture
def timed(monkeypatch):
    """Times that tell how many parameters were timed, instead of a clock."""
    rounds = []

    def medians(layers, entering):
        with torch.no_grad():
            shapes = {tuple(layer(entering).shape) for layer in layers}
        assert len(shapes) == 1
        rounds.append((tuple(entering.shape), len(layers)))
        return [float(sum(p.numel() for p in layer.parameters())) for layer in layers]

    monkeypatch.setattr(latency_table, "_medians", medians)
    return rounds


def test_layers_are_timed_at_the_input_that_they_have(network, sites, timed):
    layer_times(network, sites, (IMAGE,))
    assert {shape for shape, _ in timed} == {(1, 3, 16, 16), (1, 24, 16, 16), (1, 24, 7, 7), (1, 16)}


def test_layers_of_one_geometry_are_timed_once(network, sites, timed):
    found = layer_times(network, sites, (IMAGE,))
    geometries = ("stem", "one", "twice", "grouped", "up", "head")
    assert len(timed) == sum(1 + len(site.grids) for site in sites if site.name in geometries)
    assert found["one"] is found["two"]


def test_a_layer_called_twice_takes_twice_its_time(network, sites, timed):
    assert layer_times(network, sites, (IMAGE,))["twice"].dense == 2 * network.twice.weight.numel()


def test_a_layer_that_is_not_called_has_no_time(network, sites, timed):
    assert "spare" not in layer_times(network, sites, (IMAGE,))


def test_of_a_grid_five_points_are_timed(network, sites, timed):
    layer_times(network, sites, (IMAGE,))
    assert max(count for _, count in timed) == 1 + 5


@pytest.mark.parametrize("name", ["one", "grouped", "up", "head"])
def test_the_chains_have_the_grids_ranks(network, sites, timed, name):
    """Parameters are linear in macs for a method of one rank: so is what stands between the points timed."""
    site = next(site for site in sites if site.name == name)
    for method in {"cp3", "spatial_svd", "svd"} & set(site.grids):
        points, times = site.grids[method], layer_times(network, sites, (IMAGE,))[name].grids[method]
        assert times == pytest.approx([point.params for point in points])


def test_methods_compare_though_the_machine_slowed_down_between_them(network, sites, monkeypatch):
    pace = iter(range(1, 1000))

    def medians(layers, entering):
        slower = next(pace)
        return [slower * float(sum(p.numel() for p in layer.parameters())) for layer in layers]

    monkeypatch.setattr(latency_table, "_medians", medians)
    (one,) = (site for site in sites if site.name == "one")
    found = layer_times(network, [one], (IMAGE,))["one"]
    assert found.dense == network.one.weight.numel() + 24
    assert found.grids["cp3"][-1] == pytest.approx(one.grids["cp3"][-1].params)


@pytest.mark.parametrize(
    ("costs", "known", "times", "expected"),
    [
        ([1, 2, 3, 5], [1, 3, 5], [10.0, 20.0, 60.0], [10.0, 15.0, 20.0, 60.0]),
        ([4], [4], [7.0], [7.0]),
        ([1, 9], [1, 9], [2.0, 1.0], [2.0, 1.0]),
    ],
)
def test_between_the_points_timed_it_is_linear_in_macs(costs, known, times, expected):
    assert latency_table._interpolated(costs, known, times) == pytest.approx(expected)


@pytest.mark.parametrize("points", [1, 2, 5, 6, 16])
def test_both_ends_of_a_grid_are_timed(points):
    chosen = latency_table._chosen(points)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, points - 1, min(points, 5))


def test_the_clocks_times_are_positive(network, sites):
    found = layer_times(network, sites, (IMAGE,))
    assert all(
        times.dense > 0 and all(t > 0 for grid in times.grids.values() for t in grid) for times in found.values()
    )


def test_the_network_is_left_as_it_was(network, sites, timed):
    layer_times(network, sites, (IMAGE,))
    assert not any(module._forward_pre_hooks for module in network.modules())
