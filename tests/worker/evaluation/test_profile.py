import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.jobs import InspectTask
from tests.worker.evaluation.conftest import Net
from worker.evaluation.profile import inspect


@pytest.fixture
def profile(session, work):
    return inspect(session, work.inspect(), work.files).profile


def test_names_every_layer_in_order(profile):
    assert [site.name for site in profile.sites] == ["first", "second", "head"]


def test_costs_are_those_of_the_users_network(profile, work):
    cost = proxy.cost(work.net, (torch.zeros(1, 3, 8, 8),))
    assert (profile.dense.macs, profile.dense.params) == (cost.macs, cost.params)


def test_shapes_are_without_the_batch(profile):
    assert (profile.input_shapes, profile.output_shapes) == ([[3, 8, 8]], [[5]])


def test_the_error_at_a_grid_point_is_that_of_its_factors(profile, work):
    point = profile.sites[1].grids["cp3"][3]
    factors = proxy.decompose(work.net.second.weight, "cp3", {"rank": point.ranks.rank})
    dense = work.net.second.weight.detach()
    error = float((dense - factors.reconstruct()).norm() / dense.norm())
    assert point.relative_error == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("method", ["tucker2", "tucker2_cp3"])
def test_a_grid_point_costs_what_the_compressed_network_costs(profile, work, method):
    assert profile.sites[1].grids[method]
    for point in profile.sites[1].grids[method]:
        ranks = point.ranks.model_dump(by_alias=True, exclude_none=True)
        cost = proxy.cost(proxy.compress(work.net, {"second": ranks}), (torch.zeros(1, 3, 8, 8),))
        saved = profile.sites[1].macs - point.macs
        assert cost.macs == profile.dense.macs - saved


def test_the_factors_are_kept_for_the_trials(session, work, monkeypatch):
    inspect(session, work.inspect(), work.files)
    monkeypatch.setattr(proxy, "decompose_many", lambda *_, **__: pytest.fail("decomposed again"))
    network = session.network(work.model, work.files[work.model.sha256])
    ranks = {
        "second": {
            "method": "cp3",
            "rank": proxy.find_sites(Net(), torch.zeros(1, 3, 8, 8))[1].grids["cp3"][0].ranks["rank"],
        }
    }
    hashes = session.hashes(work.model, network)
    site = next(site for site in proxy.find_sites(network, session.example_inputs(network)) if site.name == "second")
    key = proxy.factor_key(hashes["second"], "cp3", ranks["second"], site.weight_shape, solver="epc")
    assert session.factors.get(key) is not None


def test_a_second_inspection_takes_everything_from_the_cache(session, work, monkeypatch):
    first = inspect(session, work.inspect(), work.files).profile
    seen = []
    monkeypatch.setattr(proxy, "decompose_many", lambda problems, **_: seen.extend(problems) or [])
    again = inspect(session, work.inspect(), work.files).profile
    assert seen == []
    assert [timeless(site) for site in again.sites] == [timeless(site) for site in first.sites]


def timeless(site):
    """What is no measurement of the moment."""
    grids = {m: [p.model_copy(update={"latency_ms": None}) for p in points] for m, points in site.grids.items()}
    return site.model_copy(update={"latency_ms": None, "grids": grids})


def test_every_layer_and_every_point_has_a_time(profile):
    assert profile.latency.latency_ms > 0
    assert (profile.latency.batch, profile.latency.dense_latency_ms) == (1, None)
    for site in profile.sites:
        assert site.latency_ms > 0
        assert all(point.latency_ms > 0 for points in site.grids.values() for point in points)


def test_rules_are_told_for_layers_with_grids(profile):
    for site in profile.sites:
        assert set(site.rules) == ({"vbmf", "energy"} if site.grids else set())


def test_rules_have_as_many_steps_everywhere_and_never_fall(profile):
    steps = [macs for site in profile.sites for macs in site.rules.values()]
    assert {len(macs) for macs in steps} == {16}
    assert all(macs == sorted(macs) for macs in steps)


def test_no_rule_costs_more_than_the_dense_layer(profile):
    assert all(macs[-1] <= site.macs for site in profile.sites for macs in site.rules.values())


def test_a_rule_costs_what_the_network_costs_at_its_ranks(profile, work):
    ranks = proxy.energy_ranks(work.net.second.weight, "tucker2", energy=0.6)
    small = proxy.compress(work.net, {"second": {"method": "tucker2", **ranks}})
    saved = profile.dense.macs - proxy.cost(small, (torch.zeros(1, 3, 8, 8),)).macs
    assert profile.sites[1].rules["energy"][3] == profile.sites[1].macs - saved


class Hourglass(torch.nn.Module):
    """Down by a grouped convolution, up by a transposed one and by one that is both."""

    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv2d(8, 24, 3, stride=2, padding=1, groups=2)
        self.up = torch.nn.ConvTranspose2d(24, 16, 3, stride=2, padding=1, output_padding=1)
        self.out = torch.nn.ConvTranspose2d(16, 12, 3, groups=2)

    def forward(self, x):
        return self.out(torch.relu(self.up(torch.relu(self.down(x)))))


def test_grouped_and_transposed_layers_go_all_the_way(session, work, monkeypatch):
    """Packed, profiled, compressed from the factors that the profile kept, and packed again."""
    torch.manual_seed(0)
    images = torch.randn(2, 8, 10, 10)
    ranksearch.pack(Hourglass().eval(), (images,), work.folder / "hourglass")
    task = InspectTask(model=work.blob("hourglass"))
    profile = inspect(session, task, work.files).profile
    assert [(site.name, site.kind) for site in profile.sites] == [
        ("down", "conv2d"),
        ("up", "conv_transpose2d"),
        ("out", "conv_transpose2d"),
    ]
    assert all(set(site.grids) == {"spatial_svd", "tucker2", "cp3", "tucker2_cp3"} for site in profile.sites)

    network = session.network(task.model, work.files[task.model.sha256])
    monkeypatch.setattr("proxy.assembly.decompose_many", lambda problems, **_: list(map(pytest.fail, problems)))
    points = [
        site.grids[method][-1] for site, method in zip(profile.sites, ("cp3", "tucker2", "spatial_svd"), strict=True)
    ]
    ranks = {
        site.name: point.ranks.model_dump(by_alias=True, exclude_none=True)
        for site, point in zip(profile.sites, points, strict=True)
    }
    small = proxy.compress(network, ranks, session.factors)
    small.cpu()
    assert proxy.cost(small, images).macs == sum(point.macs for point in points)

    ranksearch.pack(small, (images,), work.folder / "small")
    with torch.no_grad():
        torch.testing.assert_close(ranksearch.load(work.folder / "small")(images), small(images))
