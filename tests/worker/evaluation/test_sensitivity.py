import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.sensitivity import measure_sensitivity


def plainly(network, work, ranks, level):
    """One layer factorised in a copy of the whole network, calibrated and measured as a trial is."""
    small = proxy.compress(network, ranks)
    proxy.calibrate(small, [x for x, _ in work.batches(0, 20)], reference=network, level=level)
    return proxy.score(small, work.batches(20, 60), reference=network, metric="kl").value


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_each_choice_is_measured_as_a_trial_is(session, work, level):
    kl = measure_sensitivity(session, work.sensitivity(level=level), work.files).kl
    expected = {
        "second": [plainly(work.net, work, {"second": {"method": "cp3", "rank": rank}}, level) for rank in (4, 9)],
        "head": [plainly(work.net, work, {"head": {"method": "svd", "rank": 2}}, level)],
    }
    assert {name: pytest.approx(values, rel=1e-3, abs=1e-9) for name, values in expected.items()} == kl


class Residual(torch.nn.Module):
    """A block whose other path is a convolution of its own, with activations in place."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 12, 3, padding=1)
        self.one = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.two = torch.nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(16)
        self.side = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu_(self.stem(x))
        y = self.bn2(self.two(torch.relu_(self.bn1(self.one(x)))))
        y += self.side(x)
        return self.head(torch.relu_(y).mean((2, 3)))


@pytest.fixture
def residual(work):
    torch.manual_seed(1)
    network = Residual().eval()
    ranksearch.pack(network, (torch.randn(2, 3, 8, 8),), work.folder / "residual")
    return network


@pytest.mark.parametrize("name", ["stem", "one", "two", "side"])
def test_other_paths_and_changes_in_place_do_not_disturb_it(session, work, residual, name):
    choices = {name: [LayerRanks(method="cp3", rank=5)]}
    task = work.sensitivity(choices=choices).model_copy(update={"model": work.blob("residual")})
    expected = plainly(residual, work, {name: {"method": "cp3", "rank": 5}}, "reconstruction")
    assert measure_sensitivity(session, task, work.files).kl == {name: [pytest.approx(expected, rel=1e-3)]}


def test_the_whole_table_is_that_of_its_cells(session, work, residual):
    names = ("stem", "one", "two", "side", "head")
    choices = {name: [LayerRanks(method="svd" if name == "head" else "cp3", rank=r) for r in (2, 4)] for name in names}
    task = work.sensitivity(choices=choices).model_copy(update={"model": work.blob("residual")})
    whole = measure_sensitivity(session, task, work.files).kl
    for name, tried in choices.items():
        alone = measure_sensitivity(session, task.model_copy(update={"choices": {name: tried}}), work.files).kl
        assert whole[name] == alone[name]


@pytest.mark.parametrize("budget", [0, 40_000])
def test_in_little_memory_it_says_the_same(session, work, monkeypatch, budget):
    whole = measure_sensitivity(session, work.sensitivity(), work.files).kl
    monkeypatch.setattr("worker.evaluation.sensitivity._BYTES_AT_ONCE", budget)
    parts = measure_sensitivity(session, work.sensitivity(), work.files).kl
    assert {name: pytest.approx(values, rel=1e-4, abs=1e-9) for name, values in whole.items()} == parts


def test_a_layer_that_stays_dense_does_not_diverge(session, work):
    task = work.sensitivity(choices={"second": [LayerRanks(method="dense"), LayerRanks(method="cp3", rank=4)]})
    dense, factorised = measure_sensitivity(session, task, work.files).kl["second"]
    assert dense == 0 < factorised


def test_the_dense_network_is_left_as_it_was(session, work):
    network = session.network(work.model, work.files[work.model.sha256])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_sensitivity(session, work.sensitivity(), work.files)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_hooks for module in network.modules())


def test_images_that_the_network_does_not_take_are_named_so(session, work):
    ranksearch.pack_data(work.images[..., :1], None, work.folder / "grey", mean=(0.5,), std=(1.0,))
    grey = work.selection(0, 10, work.blob("grey"))
    with pytest.raises(DatasetError):
        measure_sensitivity(session, work.sensitivity(validation=grey), work.files)


def test_an_unknown_layer_is_refused(session, work):
    with pytest.raises(proxy.UnknownLayer):
        measure_sensitivity(
            session, work.sensitivity(choices={"third": [LayerRanks(method="cp3", rank=1)]}), work.files
        )
