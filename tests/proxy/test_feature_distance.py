"""Against moments and distances written out in NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import proxy
from tests.proxy.conftest import seeded


@pytest.fixture
def other(small):
    return proxy.compress(small, {"conv2": {"method": "cp3", "rank": 6}, "fc": {"method": "svd", "rank": 3}})


def features(model, batches):
    """Layer → its features by hand: behind the BatchNorm where there is one."""
    parts = {"conv1": [], "conv2": [], "conv3": [], "fc": []}
    with torch.no_grad():
        for x in batches:
            one = model.bn1(model.conv1(x))
            two = model.bn2(model.conv2(torch.relu(one)))
            three = model.conv3(torch.relu(two))
            four = model.fc(torch.relu(three).mean((2, 3)))
            for name, made in zip(parts, (one, two, three), strict=False):
                parts[name].append(made.permute(0, 2, 3, 1).reshape(-1, made.shape[1]).double().numpy())
            parts["fc"].append(four.double().numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def distance(dense, compressed):
    total = 0.0
    for name, wanted in dense.items():
        got = compressed[name]
        sigma, other = np.cov(wanted.T, bias=True), np.cov(got.T, bias=True)
        total += ((got.mean(0) - wanted.mean(0)) ** 2).sum() / np.trace(sigma)
        total += ((other - sigma) ** 2).sum() / (sigma**2).sum()
    return total / len(dense)


def test_the_moments_are_those_of_all_positions(small, images):
    found = proxy.feature_moments(small, images).moments
    for name, rows in features(small, images).items():
        np.testing.assert_allclose(found[name][0].numpy(), rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(found[name][1].numpy(), np.cov(rows.T, bias=True), atol=1e-5)


@pytest.mark.parametrize("given", ["network", "moments"])
def test_the_distance_is_the_formula(small, other, images, given):
    reference = small if given == "network" else proxy.feature_moments(small, images)
    found = proxy.score(other, images, reference=reference, metric="features")
    expected = distance(features(small, images), features(other, images))
    assert found.value == found.features == pytest.approx(expected, rel=1e-4)


def test_a_network_is_at_no_distance_from_itself(small, images):
    assert proxy.score(small, images, reference=small, metric="features").value == pytest.approx(0, abs=1e-12)


def test_large_means_do_not_cancel_small_variances_away(images):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        layer.bias.fill_(1e4)
        rows = torch.cat([layer.double()(x.double()) for x in images]).permute(0, 2, 3, 1).reshape(-1, 4).numpy()
    found = proxy.feature_moments(nn.Sequential(layer), [x.double() for x in images]).moments["0"][1]
    np.testing.assert_allclose(found.numpy(), np.cov(rows.T, bias=True), rtol=1e-8)


def test_it_is_measured_only_where_it_is_asked_for(small, other, images):
    assert proxy.score(other, images, reference=small, metric="kl").features is None


def test_labels_are_told_of_besides(small, other, images):
    labelled = [(x, torch.arange(len(x)) % 10) for x in images]
    found = proxy.score(other, labelled, reference=small, metric="features")
    plain = proxy.score(other, labelled, reference=small, metric="kl")
    assert (found.accuracy, found.kl, found.loss) == (plain.accuracy, plain.kl, plain.loss)
    assert found.batch_means is None
    assert found.dense_value == 0


class Heads(nn.Module):
    """A tuple, a dict or a feature map for an answer."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 8, 3)
        self.form = form

    def forward(self, x):
        y = torch.relu(self.body(x))
        return {"tuple": (y, y.mean((2, 3))), "dict": {"map": y}, "map": y}[self.form]


@pytest.mark.parametrize("form", ["tuple", "dict", "map"])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_network_without_logits_has_a_distance_and_nothing_else(images, form, labelled):
    dense = Heads(form)
    small = proxy.compress(dense, {"body": {"method": "cp3", "rank": 2}})
    batches = [(x, torch.zeros(len(x), dtype=torch.long)) if labelled else x for x in images]
    found = proxy.score(small, batches, reference=dense, metric="features")
    assert found.value > 0
    assert (found.accuracy, found.kl, found.loss, found.count) == (None, None, None, 128)


def test_embeddings_with_labels_beyond_their_width_are_no_logits(small, other, images):
    labelled = [(x, torch.full((len(x),), 10)) for x in images]
    assert proxy.score(other, labelled, reference=small, metric="features").accuracy is None


def test_a_layer_that_never_varies_is_left_out(small, other, images):
    with torch.no_grad():
        small.fc.weight.zero_()
    found = proxy.score(other, images, reference=small, metric="features").value
    rows = features(small, images), features(other, images)
    assert found == pytest.approx(distance(*({k: v for k, v in r.items() if k != "fc"} for r in rows)), rel=1e-4)


def test_a_layer_called_twice_counts_both_calls(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    model = Twice()
    with torch.no_grad():
        x = torch.cat(images)
        one = model.conv(x)
        both = torch.cat([one, model.conv(one)]).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    found = proxy.feature_moments(model, images).moments["conv"][0]
    np.testing.assert_allclose(found.numpy(), both.mean(0), atol=1e-6)


def test_it_leaves_nothing_behind(small, images):
    small.train()
    proxy.feature_moments(small, images)
    assert small.bn1.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())


def test_without_the_dense_network_it_is_refused(small, images):
    with pytest.raises(proxy.MissingInput, match="features"):
        proxy.score(small, images, metric="features")


def test_logits_will_not_do_for_it(small, images):
    with pytest.raises(proxy.MissingInput):
        proxy.score(small, images, reference=proxy.reference_logits(small, images), metric="features")


def test_another_networks_moments_are_refused(small, images):
    with pytest.raises(proxy.ShapeMismatch):
        proxy.score(Heads("map"), images, reference=proxy.feature_moments(small, images), metric="features")


def test_features_that_are_no_numbers_are_refused(small, images):
    broken = copy.deepcopy(small)
    with torch.no_grad():
        broken.conv2.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(proxy.NotFinite):
        proxy.score(broken, images, reference=small, metric="features")


def test_no_images_are_refused(small):
    with pytest.raises(proxy.MissingInput):
        proxy.score(small, [], reference=small, metric="features")


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(proxy.MissingInput, match="no convolution"):
        proxy.feature_moments(nn.ReLU(), [seeded(2, 3)])
