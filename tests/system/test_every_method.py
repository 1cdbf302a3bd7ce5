"""Studies of every method on a network with every kind of layer, through real processes."""

import pytest
import torch
from torch import nn

import proxy
import ranksearch
from ranksearch.demo.network import train

METHODS = ["cp3", "tucker2", "tucker2_cp3", "spatial_svd", "svd"]


class EveryKind(nn.Module):
    """A grouped, a transposed, a 1×1 and a linear layer, some followed by a BatchNorm and some not."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.ordinary = nn.Conv2d(16, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, stride=2, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.transposed = nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1)
        self.pointwise = nn.Sequential(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.grouped(torch.relu(self.ordinary(self.stem(x))))))
        return self.head(self.pointwise(torch.relu(self.transposed(x))).amax((2, 3)))


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    """Its document."""
    torch.manual_seed(0)
    net = train(digits, epochs=1, network=EveryKind())
    path = tmp_path_factory.mktemp("every_kind") / "model.safetensors"
    ranksearch.pack(net, (digits.normalised(digits.training[0][:2]),), path)
    return path


@pytest.fixture(scope="module", params=[["tucker2_cp3"], METHODS], ids=["one method", "all methods"])
def study(request, deployment, documents, model):
    budget = "35%" if len(request.param) == 1 else "45%"
    with deployment.client() as client:
        data = documents / "data.safetensors"
        handle = client.submit(model, data, budget=budget, n_trials=8, methods=request.param, pruner="none")
        handle.wait(timeout=240)
        yield handle


def asked_for(study):
    return study.status().request.methods


def as_given(choices):
    """A trial's ranks as a rank vector for :mod:`proxy`."""
    return {name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in choices.items()}


def test_every_trial_completes_and_costs_what_was_planned(client, study):
    trials = list(client.studies.trials(study.id))
    assert [trial.state for trial in trials] == ["COMPLETE"] * 8
    for trial in trials:
        assert trial.planned == trial.result.cost
        assert trial.result.cost.macs <= study.status().limits["macs"]


def test_layers_of_every_kind_are_decomposed_by_the_methods_asked_for(client, study):
    tried = [(name, c.method) for trial in client.studies.trials(study.id) for name, c in trial.ranks.items()]
    assert {method for _, method in tried} <= set(asked_for(study))
    layers = {name for name, _ in tried}
    if asked_for(study) == METHODS:
        assert {"ordinary", "grouped", "transposed", "pointwise.0"} <= layers
        assert len({method for _, method in tried}) > 3
    else:  # a chain of five is for kernels with a spatial extent
        assert {"ordinary", "transposed"} <= layers <= {"ordinary", "grouped", "transposed"}


def test_the_best_ranks_name_their_methods_and_ranks(study):
    names = {"tucker2": {"out", "in"}, "tucker2_cp3": {"out", "in", "cp"}}
    best = as_given(study.best().ranks)
    assert best
    for choice in best.values():
        assert choice["method"] in asked_for(study)
        assert set(choice.get("ranks", {"rank": 1})) == names.get(choice["method"], {"rank"})


def test_the_pulled_network_computes_what_compressing_here_does(study, model, documents, digits, tmp_path):
    """The same ranks, the same solver, the same calibration; how far both are from the dense network is the scale."""
    pulled = ranksearch.load(study.pull(tmp_path / "small.safetensors"))
    dense, data = ranksearch.load(model), ranksearch.load_data(documents / "data.safetensors")
    ranks, request = as_given(study.best().ranks), study.status().request
    here = proxy.compress(dense, ranks)
    batches = list(data.batches(request.batch_size, request.calibration.start, request.calibration.stop))
    proxy.calibrate(here, batches, reference=dense, level="reconstruction", sweeps=2)
    images = digits.normalised(digits.validation[0])
    with torch.no_grad():
        found = pulled(images)
        assert (found - here(images)).norm() < 1e-3 * (found - dense(images)).norm()


def test_the_pulled_network_keeps_the_groups_and_the_transposition(study, model, tmp_path):
    pulled = ranksearch.load(study.pull(tmp_path / "small.safetensors"))
    dense = ranksearch.load(model)
    for name in study.best().ranks:
        chain, layer = pulled.get_submodule(name), dense.get_submodule(name)
        convolutions = [part for part in chain.modules() if isinstance(part, nn.modules.conv._ConvNd)]
        if isinstance(layer, nn.Linear):
            assert not convolutions
            continue
        assert any(part.transposed for part in convolutions) == layer.transposed
        assert all(part.groups % layer.groups == 0 for part in convolutions)
