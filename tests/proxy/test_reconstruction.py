import copy

import numpy as np
import pytest
import torch
from torch import nn

import proxy
from tests.proxy.conftest import cp_tensor
from tests.proxy.test_calibrate import CHOICE, outputs


def test_the_refit_is_the_ridge_regression(images):
    """Against an augmented least-squares problem solved by NumPy."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1))
    model = proxy.compress(dense, {"0": {"method": "cp3", "rank": 6}})
    factor = model[0].last.weight.detach().flatten(1).double().clone()
    z, y = outputs(model, "0.space", images), outputs(dense, "0", images)
    proxy.calibrate(model, images, reference=dense, level="reconstruction")
    n = len(z)
    centred = z - z.mean(0)
    ridge = 1e-3 * float(centred.square().mean(0).mean())
    left = np.vstack([centred.numpy() / n**0.5, ridge**0.5 * np.eye(6)])
    right = np.vstack([(y - y.mean(0)).numpy() / n**0.5, ridge**0.5 * factor.T.numpy()])
    expected = np.linalg.lstsq(left, right, rcond=None)[0].T
    np.testing.assert_allclose(model[0].last.weight.detach().flatten(1).numpy(), expected, rtol=1e-3, atol=1e-5)
    bias = y.mean(0).numpy() - expected @ z.mean(0).numpy()
    np.testing.assert_allclose(model[0].last.bias.detach().numpy(), bias, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cls", [nn.Conv2d, nn.ConvTranspose2d])
def test_every_group_is_refitted_on_its_own(cls, images):
    """Against an augmented least-squares problem of each group, solved by NumPy."""
    torch.manual_seed(0)
    dense = nn.Sequential(cls(3, 12, 3, padding=1), cls(12, 10, 3, stride=2, groups=2, bias=False))
    model = proxy.compress(dense, {"1": {"method": "cp3", "rank": 5}})
    factors = model[1].last.weight.detach().flatten(1).double().clone().split(5)
    z, y = outputs(model, "1.space", images), outputs(dense, "1", images)
    proxy.calibrate(model, images, reference=dense, level="reconstruction")
    n, expected = len(z), []
    for factor, zg, yg in zip(factors, z.split(5, 1), y.split(5, 1), strict=True):
        centred = zg - zg.mean(0)
        ridge = 1e-3 * float(centred.square().mean(0).mean())
        left = np.vstack([centred.numpy() / n**0.5, ridge**0.5 * np.eye(5)])
        right = np.vstack([(yg - yg.mean(0)).numpy() / n**0.5, ridge**0.5 * factor.T.numpy()])
        expected.append(np.linalg.lstsq(left, right, rcond=None)[0].T)
    last = model[1].last
    np.testing.assert_allclose(last.weight.detach().flatten(1).numpy(), np.vstack(expected), rtol=1e-3, atol=1e-5)
    means = np.concatenate([e @ m.numpy() for e, m in zip(expected, z.mean(0).split(5), strict=True)])
    np.testing.assert_allclose(last.bias.detach().numpy(), y.mean(0).numpy() - means, rtol=1e-3, atol=1e-5)


def test_spatial_layers_are_left_alone_and_not_listed(small, images):
    model = proxy.compress(small, {**CHOICE, "conv2": {"method": "spatial_svd", "rank": 9}})
    before = copy.deepcopy(model.conv2.state_dict())
    told = proxy.calibrate(model, images, reference=small, level="reconstruction")
    assert told.corrected == ("conv1", "conv3", "fc")
    assert all(torch.equal(before[name], value) for name, value in model.conv2.state_dict().items())


def test_exact_factors_stay(images):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1))
    with torch.no_grad():
        dense[0].weight.copy_(cp_tensor(10, 3, 9, 3).view(10, 3, 3, 3))
    model = proxy.compress(dense, {"0": {"method": "tucker2", "ranks": {"out": 10, "in": 3}}})
    proxy.calibrate(model, images, reference=dense, level="reconstruction")
    with torch.no_grad():
        torch.testing.assert_close(model(images[0]), dense(images[0]), rtol=1e-3, atol=1e-3)


def test_the_outputs_come_closer_to_the_dense_ones(small, images):
    plain, refitted = (proxy.compress(small, CHOICE) for _ in range(2))
    proxy.calibrate(plain, images, reference=small)
    told = proxy.calibrate(refitted, images, reference=small, level="reconstruction")
    assert told.corrected == ("conv1", "conv2", "conv3", "fc")
    kl = [proxy.score(model, images, reference=small, metric="kl").value for model in (plain, refitted)]
    assert kl[1] < kl[0]


def test_other_layers_and_modes_stay(small, images):
    model = proxy.compress(small, {"conv2": CHOICE["conv2"]}).train()
    before = copy.deepcopy(model.state_dict())
    proxy.calibrate(model, images, reference=small, level="reconstruction")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {"conv2.expand.weight", "conv2.expand.bias"}
    assert all(module.training for module in model.modules())


def test_images_that_can_be_walked_once_will_do(small, images):
    one, other = (proxy.compress(small, CHOICE) for _ in range(2))
    proxy.calibrate(one, images, reference=small, level="reconstruction")
    proxy.calibrate(other, iter(images), reference=small, level="reconstruction")
    assert torch.equal(one.conv3.last.weight, other.conv3.last.weight)


def test_it_needs_the_dense_network(small, images):
    with pytest.raises(proxy.MissingInput):
        proxy.calibrate(proxy.compress(small, CHOICE), images, level="reconstruction")
