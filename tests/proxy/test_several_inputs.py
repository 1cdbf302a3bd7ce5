import copy

import pytest
import torch

import proxy
from proxy.inputs import all_inputs, inputs_of, labels_of
from proxy.targets import positions_of
from tests.proxy.conftest import seeded
from tests.proxy.several import OneInput, TwoInputs, fitted

RANKS = {
    "colour": {"method": "cp3", "rank": 6},
    "depth": {"method": "tucker2", "ranks": {"out": 2, "in": 2}},
    "mix": {"method": "cp3", "rank": 10},
    "fc": {"method": "svd", "rank": 3},
}


@pytest.fixture
def two():
    return fitted(TwoInputs(), (3, 8, 8), (4, 8, 8))


@pytest.fixture
def whole():
    """Batches of seven channels."""
    return [seeded(12, 7, 8, 8, seed=seed, dtype=torch.float32) for seed in range(3)]


def split(batches, form):
    """The same images as two inputs."""
    if form == "dict":
        return [({"colour": batch[:, :3], "depth": batch[:, 3:]}, None) for batch in batches]
    return [((batch[:, :3], batch[:, 3:]), None) for batch in batches]


def both(network):
    """The network and its twin of one input, compressed alike."""
    one = OneInput(copy.deepcopy(network))
    small = proxy.compress(network, RANKS)
    twin = proxy.compress(one, {f"network.{name}": choice for name, choice in RANKS.items()})
    return small, one, twin


def same(small, twin):
    other = twin.network.state_dict()
    return all(torch.allclose(one, other[name], atol=1e-6) for name, one in small.state_dict().items())


@pytest.mark.parametrize("form", ["tuple", "dict"])
@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_calibration_does_what_it_does_with_one_input(two, whole, level, form):
    small, one, twin = both(two)
    told = proxy.calibrate(small, split(whole, form), reference=two, level=level)
    proxy.calibrate(twin, whole, reference=one, level=level)
    assert told.images == 36
    assert same(small, twin)


def test_reconstruction_by_passes_comes_to_the_same(two, whole):
    small, again = (proxy.compress(two, RANKS) for _ in range(2))
    proxy.calibrate(small, split(whole, "tuple"), reference=two, level="reconstruction")
    proxy.calibrate(again, split(whole, "tuple"), reference=two, level="reconstruction", memory=0)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(small.parameters(), again.parameters(), strict=True))


def test_an_input_that_is_added_to_a_layers_output_is_that_layers_shortcut(two, whole):
    features = proxy.record_dense(two, split(whole, "tuple"), ["depth", "mix"])
    added = torch.cat(whole)[:, 3:].flatten(2).mT
    positions = positions_of(added.shape[1], len(added), added.device)
    assert torch.equal(features.samples["depth"].added, added[:, positions])
    assert set(features.samples) == {"depth", "mix"}


@pytest.mark.parametrize("metric", ["kl", "outputs", "features"])
def test_scores_are_those_of_one_input(two, whole, metric):
    small, one, twin = both(two)
    found = proxy.score(small, split(whole, "tuple"), reference=two, metric=metric)
    wanted = proxy.score(twin, whole, reference=one, metric=metric)
    assert found.value == pytest.approx(wanted.value, rel=1e-5)
    assert found.count == wanted.count == 36


def test_output_moments_are_those_of_one_input(two, whole):
    found = proxy.output_moments(two, split(whole, "dict"), ["depth"])["depth"]
    wanted = proxy.output_moments(OneInput(two), whole, ["network.depth"])["network.depth"]
    assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def test_macs_and_sites_are_those_of_one_image_whatever_the_inputs(two):
    example = (torch.zeros(4, 3, 8, 8), torch.zeros(4, 4, 8, 8))
    by_hand = 64 * (12 * 27 + 4 * 36 + 16 * 144) + 16 * 6
    assert proxy.cost(two, example).macs == by_hand
    assert sum(site.macs for site in proxy.find_sites(two, example)) == by_hand


def test_labels_come_second():
    images, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    assert labels_of(((images, images), labels)) is labels
    assert labels_of(({"a": images}, None)) is None
    assert labels_of(images) is None


def test_batches_are_joined_input_by_input():
    parts = [((torch.full((2, 1), float(at)), torch.full((2, 3), float(-at))), None) for at in range(3)]
    joined = all_inputs(parts)
    assert [tensor.shape for tensor in joined.tensors] == [(6, 1), (6, 3)]
    assert joined.positional[1][:, 0].tolist() == [0, 0, -1, -1, -2, -2]


def test_inputs_of_different_numbers_of_images_are_refused():
    with pytest.raises(proxy.ShapeMismatch, match="number of images"):
        inputs_of(((torch.zeros(2, 3), torch.zeros(3, 3)), None))


@pytest.mark.parametrize("batch", [None, (), ((),), "images", ({},), ((torch.zeros(2), None),), (torch.tensor(1.0),)])
def test_a_batch_without_images_is_refused(batch):
    with pytest.raises(proxy.ShapeMismatch, match="no images"):
        inputs_of(batch)
