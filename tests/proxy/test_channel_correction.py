import copy

import pytest
import torch
from torch import nn

import proxy
from tests.proxy.test_calibrate import CHOICE, outputs


def test_a_corrected_layer_has_the_dense_moments(small, images):
    model = proxy.compress(small, {"conv3": CHOICE["conv3"]})
    proxy.calibrate(model, images[:1], reference=small)
    got, goal = outputs(model, "conv3", images[:1]), outputs(small, "conv3", images[:1])
    # BatchNorm's batch variance is unbiased where its own pass is not: hence the tolerance
    torch.testing.assert_close(got.mean(0), goal.mean(0), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(got.std(0), goal.std(0), rtol=1e-2, atol=1e-2)


class Plain(nn.Module):
    """No BatchNorm at all."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)))


@pytest.fixture
def plain():
    torch.manual_seed(1)
    return Plain().eval()


@pytest.mark.parametrize("given", ["module", "moments"])
@pytest.mark.parametrize("name", ["conv1", "conv2", "fc"])
def test_without_batch_norm_every_layer_gets_the_dense_moments(plain, images, name, given):
    batches = images[:1]
    choice = {layer: CHOICE[layer] for layer in ("conv1", "conv2", "fc")}
    model = proxy.compress(plain, choice)
    reference = plain if given == "module" else proxy.output_moments(plain, batches, choice)
    proxy.calibrate(model, batches, reference=reference)
    got, goal = outputs(model, name, batches), outputs(plain, name, batches)
    torch.testing.assert_close(got.mean(0), goal.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.std(0), goal.std(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cls", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("choice", [{"method": "spatial_svd", "rank": 2}, {"method": "cp3", "rank": 3}], ids=str)
def test_grouped_and_transposed_layers_get_the_dense_moments(cls, choice, images):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 6, 1), cls(6, 10, 3, stride=2, groups=2))
    model = proxy.compress(dense, {"1": choice})
    proxy.calibrate(model, images, reference=dense)
    got, goal = outputs(model, "1", images), outputs(dense, "1", images)
    torch.testing.assert_close(got.mean(0), goal.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.std(0), goal.std(0), rtol=1e-3, atol=1e-5)


def test_over_several_batches_the_moments_are_those_of_all(plain, images):
    model = proxy.compress(plain, {"conv1": CHOICE["conv1"]})
    proxy.calibrate(model, images, reference=plain)
    got, goal = outputs(model, "conv1", images), outputs(plain, "conv1", images)
    torch.testing.assert_close(got.mean(0), goal.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.std(0), goal.std(0), rtol=1e-4, atol=1e-5)


def test_the_correction_equals_a_batch_norm_that_follows(plain, images):
    """Re-estimating a BatchNorm of the dense moments does the same to the features as the folded correction."""
    model = proxy.compress(plain, {"conv1": CHOICE["conv1"]})
    follower = copy.deepcopy(model)
    goal = outputs(plain, "conv1", images[:1])
    norm = nn.BatchNorm2d(12, eps=1e-12)
    with torch.no_grad():
        norm.weight.copy_(goal.std(0, correction=0))
        norm.bias.copy_(goal.mean(0))
    follower.conv1 = nn.Sequential(follower.conv1, norm)
    proxy.calibrate(follower, images[:1])
    proxy.calibrate(model, images[:1], reference=plain)
    with torch.no_grad():
        torch.testing.assert_close(model(images[1]), follower.eval()(images[1]), rtol=1e-3, atol=1e-3)


def test_without_a_reference_the_correction_is_refused(plain, images):
    with pytest.raises(proxy.MissingInput, match="conv1"):
        proxy.calibrate(proxy.compress(plain, {"conv1": CHOICE["conv1"]}), images)


def test_a_dead_channel_stays_finite(plain, images):
    with torch.no_grad():
        plain.conv1.weight[2] = 0
    model = proxy.compress(plain, {"conv1": CHOICE["conv1"]})
    proxy.calibrate(model, images, reference=plain)
    assert bool(torch.isfinite(model(images[0])).all())
