"""The whole way with networks that are no classifiers of one image: search, artifacts, parity, by real processes."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import proxy
import ranksearch
from ranksearch.cli import app

COUNT = 160


class Places(nn.Module):
    """Where the bright and the dark things are: scores of three classes at every pixel, and at a quarter of them."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(12, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.up = nn.ConvTranspose2d(24, 12, 2, 2)
        self.out = nn.Conv2d(24, 3, 3, padding=1)
        self.aux = nn.Conv2d(24, 3, 1)

    def forward(self, image):
        near = self.down(image)
        far = self.deep(near)
        return {"out": self.out(torch.cat([near, self.up(far)], 1)), "aux": self.aux(far)}


class Together(nn.Module):
    """Which of four quadrants is both bright in one image and near in the other."""

    def __init__(self):
        super().__init__()
        self.bright = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU())
        self.near = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU())
        self.both = nn.Conv2d(24, 16, 3, 2, 1)
        self.head = nn.Linear(16 * 4, 4)

    def forward(self, image, depth):
        seen = torch.relu(self.both(torch.cat([self.bright(image), self.near(depth)], 1)))
        return self.head(nn.functional.adaptive_avg_pool2d(seen, 2).flatten(1))


def drawn(seed):
    """Images ``(N, 1, 16, 16)`` with a bright and a dark square, and what is where ``(N, 16, 16)``."""
    random = np.random.default_rng(seed)
    images = random.normal(0, 0.2, (COUNT, 1, 16, 16)).astype(np.float32)
    places = np.zeros((COUNT, 16, 16), np.int64)
    for at in range(COUNT):
        for kind, value in ((1, 1.0), (2, -1.0)):
            top, left = random.integers(0, 11, 2)
            images[at, 0, top : top + 5, left : left + 5] += value
            places[at, top : top + 5, left : left + 5] = kind
    return torch.from_numpy(images), torch.from_numpy(places)


def trained(network, loss, *inputs):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss(network(*inputs)).backward()
        optimizer.step()
    return network.eval()


def right(answer, places):
    return float((answer["out"].argmax(1) == places).double().mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any_model")


@pytest.fixture(scope="module")
def segmentation(deployment, folder):
    """(images, what is where, the network, a finished study of it)."""
    images, places = drawn(seed=0)
    loss = lambda answer: nn.functional.cross_entropy(answer["out"], places)  # noqa: E731 - a line
    network = trained(Places(), loss, images)
    model = ranksearch.pack(network, images[:2], folder / "places.safetensors")
    data = ranksearch.pack_data(images, None, folder / "images.safetensors", mean=0, std=1, layout="NCHW")
    with deployment.client() as client:
        study = client.submit(model, data, budget="50%", n_trials=6, warm_starts=["greedy"], methods=["cp3", "tucker2"])
        study.wait(timeout=240)
        yield images, places, network, study


def test_segmentation_is_judged_by_its_outputs(segmentation):
    *_, study = segmentation
    best = study.best()
    assert (best.metric, best.dense_value) == ("outputs", 0)
    assert 0 < best.value == best.result.outputs < 1
    assert best.macs.fraction <= 0.5
    assert study.status().progress.failed == 0


def test_its_greedy_start_stands_on_a_table_of_distances(segmentation):
    *_, study = segmentation
    told = study._studies.sensitivity(study.id)
    assert (told.state, told.measure) == ("measured", "outputs")
    assert all(point.change >= 0 for layer in told.layers for point in layer.points)
    assert max(point.change for layer in told.layers for point in layer.points) > 0


def test_the_pulled_network_answers_in_the_same_structure_and_nearly_as_well(segmentation, folder):
    images, places, network, study = segmentation
    small = ranksearch.load(study.pull(folder / "small.safetensors", timeout=240))
    held_out = slice(study.status().request.validation.start, None)
    with torch.no_grad():
        dense, answer = network(images[held_out]), small(images[held_out])
    assert {name: tensor.shape for name, tensor in answer.items()} == {
        name: tensor.shape for name, tensor in dense.items()
    }
    assert right(dense, places[held_out]) > 0.9
    assert right(answer, places[held_out]) > right(dense, places[held_out]) - 0.05
    batches = images[held_out].split(64)
    found = proxy.score(small, batches, reference=network, metric="outputs").value
    assert found == pytest.approx(study.best().result.outputs, rel=1e-3)


def test_its_onnx_file_names_the_outputs(segmentation, folder):
    images, _, _, study = segmentation
    artifact = study.artifact(format="onnx")
    path = artifact.download(folder / "small.onnx", timeout=240)
    assert artifact.status().parity.agrees
    runtime = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [one.name for one in runtime.get_outputs()] == ["out", "aux"]
    out, _ = runtime.run(None, {runtime.get_inputs()[0].name: images[:5].numpy()})
    with torch.no_grad():
        wanted = ranksearch.load(study.pull(folder / "again.safetensors", timeout=240))(images[:5])
    assert np.abs(out - wanted["out"].numpy()).max() < 1e-4 * np.ptp(out)


@pytest.fixture(scope="module")
def pairs(deployment, folder):
    """(inputs, the network, a finished study of it), packed and submitted from the command line."""
    image, depth = drawn(seed=1)[0], drawn(seed=2)[0]
    quadrants = nn.functional.adaptive_avg_pool2d(image + depth, 2).flatten(1).argmax(1)
    network = trained(Together(), lambda answer: nn.functional.cross_entropy(answer, quadrants), image, depth)
    ranksearch.pack(network, (image[:2], depth[:2]), folder / "together.safetensors")
    np.savez(
        folder / "pairs.npz", depth=depth.numpy(), image=image.permute(0, 2, 3, 1).numpy(), labels=quadrants.numpy()
    )
    data = folder / "pairs.safetensors"
    environment = {"RANKSEARCH_URL": deployment.url, "RANKSEARCH_TOKEN": deployment.token}

    def run(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    statistics = ["--mean", "image=0", "--std", "image=1"]
    run("pack-data", folder / "pairs.npz", "-o", data, "--input", "depth", "--input", "image", *statistics)
    model = folder / "together.safetensors"
    told = json.loads(run("submit", model, data, "--macs", "60%", "--n-trials", "4", "--watch", "--json"))
    with deployment.client() as client:
        yield (image, depth), network, client.study(told["id"])


def test_inputs_are_found_by_their_names_whatever_their_order(pairs, folder):
    inputs, network, study = pairs
    best, start = study.best(), study.status().request.validation.start
    assert best.metric == "kl"
    small = ranksearch.load(study.pull(folder / "both.safetensors", timeout=240))
    batches = [((one, other), None) for one, other in zip(*(given[start:].split(64) for given in inputs), strict=True)]
    assert proxy.score(small, batches, reference=network, metric="kl").value == pytest.approx(best.value, rel=1e-2)
    assert best.result.accuracy > 0.8
    assert [spec.name for spec in small.input_specs] == ["image", "depth"]


def test_files_of_a_network_of_two_inputs_are_as_true_as_any(pairs, folder):
    inputs, _, study = pairs
    for made in ("pt2", "onnx"):
        artifact = study.artifact(format=made)
        artifact.download(folder / f"both.{made}", timeout=240)
        assert artifact.status().parity.agrees
    runtime = onnxruntime.InferenceSession(str(folder / "both.onnx"), providers=["CPUExecutionProvider"])
    feed = dict(zip(("image", "depth"), (given[:5].numpy() for given in inputs), strict=True))
    (got,) = runtime.run(None, feed)
    with torch.no_grad():
        wanted = torch.export.load(folder / "both.pt2").module()(*(given[:5] for given in inputs)).numpy()
    assert np.abs(got - wanted).max() < 1e-4 * np.ptp(wanted)
