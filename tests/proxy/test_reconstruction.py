import copy

import numpy as np
import pytest
import torch
from torch import nn

import proxy
from proxy.dense_features import Footprint
from proxy.reconstruction import _portions
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
def test_every_group_is_refitted_on_its_own(cls, images, monkeypatch):
    """Against an augmented least-squares problem of each group, solved by NumPy."""
    monkeypatch.setattr("proxy.targets._ENOUGH", 1 << 20)
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


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_the_horizontal_half_of_a_spatial_layer_is_refitted_on_the_patches_it_sees(mode, images):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1, stride=2, padding_mode=mode))
    model = proxy.compress(dense, {"0": {"method": "spatial_svd", "rank": 4}})
    factor = model[0].last.weight.detach().flatten(1).double().clone()
    z, y = outputs(model, "0.vertical", images, as_rows=False), outputs(dense, "0", images)
    padded = nn.functional.pad(z, (1, 1, 0, 0), mode="constant" if mode == "zeros" else mode)
    width = padded.shape[-1]
    patches = torch.stack([padded[..., at : width - 2 + at : 2] for at in range(3)], 2)  # (B, R, kw, H, W)
    z = patches.flatten(1, 2).movedim(1, -1).flatten(0, -2)
    proxy.calibrate(model, images, reference=dense, level="reconstruction")
    centred, n = z - z.mean(0), len(z)
    ridge = 1e-3 * float(centred.square().mean(0).mean())
    left = np.vstack([centred.numpy() / n**0.5, ridge**0.5 * np.eye(12)])
    right = np.vstack([(y - y.mean(0)).numpy() / n**0.5, ridge**0.5 * factor.T.numpy()])
    expected = np.linalg.lstsq(left, right, rcond=None)[0].T
    np.testing.assert_allclose(model[0].last.weight.detach().flatten(1).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_a_transposed_spatial_layer_is_left_alone_and_not_listed(images):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ConvTranspose2d(12, 10, 3))
    model = proxy.compress(dense, {"0": {"method": "cp3", "rank": 6}, "1": {"method": "spatial_svd", "rank": 5}})
    before = copy.deepcopy(model[1].state_dict())
    told = proxy.calibrate(model, images, reference=dense, level="reconstruction")
    assert told.corrected == ("0",)
    assert all(torch.equal(before[name], value) for name, value in model[1].state_dict().items())


class Residual(nn.Module):
    """Two convolutions, the second one behind a BatchNorm beside a path around it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8).eval()

    def forward(self, x):
        around = torch.relu(self.first(x))
        return torch.relu_(self.norm(self.second(around)) + around)


@pytest.fixture
def residual():
    torch.manual_seed(0)
    net = Residual()
    with torch.no_grad():
        net.norm.running_var.uniform_(0.5, 2)
        net.norm.weight.uniform_(0.5, 2)
    return net.eval()


RESIDUAL = {"first": {"method": "cp3", "rank": 5}, "second": {"method": "cp3", "rank": 7}}


def test_a_layer_in_front_of_an_addition_makes_up_for_the_other_path(residual, images):
    """Against least squares whose targets are put together by hand."""
    model = proxy.compress(residual, RESIDUAL)
    factor = model.second.last.weight.detach().flatten(1).double().clone()
    proxy.calibrate(model, images, reference=residual, level="reconstruction")  # the first layer is as it will be
    z, y = outputs(model, "second.space", images), outputs(residual, "second", images)
    lacking = outputs(residual, "first", images).relu() - outputs(model, "first", images).relu()
    gain = (residual.norm.weight / (residual.norm.running_var + residual.norm.eps).sqrt()).detach().double()
    y = y + lacking * gain / (gain.square() + 1e-3 * gain.square().mean())
    centred, n = z - z.mean(0), len(z)
    ridge = 1e-3 * float(centred.square().mean(0).mean())
    left = np.vstack([centred.numpy() / n**0.5, ridge**0.5 * np.eye(7)])
    right = np.vstack([(y - y.mean(0)).numpy() / n**0.5, ridge**0.5 * factor.T.numpy()])
    expected = np.linalg.lstsq(left, right, rcond=None)[0].T
    np.testing.assert_allclose(model.second.last.weight.detach().flatten(1).numpy(), expected, rtol=1e-3, atol=1e-5)
    bias = y.mean(0).numpy() - expected @ z.mean(0).numpy()
    assert model.second.last.bias is None  # the BatchNorm's running mean has taken it
    taken = (residual.norm.running_mean - model.norm.running_mean).numpy()
    np.testing.assert_allclose(taken, bias, rtol=1e-3, atol=1e-4)


def test_a_refitted_network_has_as_many_parameters_as_before(residual, images):
    model = proxy.compress(residual, RESIDUAL)
    before = proxy.cost(model, images[0])
    proxy.calibrate(model, images, reference=residual, level="reconstruction")
    assert proxy.cost(model, images[0]) == before


def test_features_recorded_before_serve_as_well_as_the_network(residual, images):
    one, other = (proxy.compress(residual, RESIDUAL) for _ in range(2))
    features = proxy.record_dense(residual, images, ["first", "second"])
    proxy.calibrate(one, images, reference=residual, level="reconstruction")
    proxy.calibrate(other, (), reference=features, level="reconstruction")
    assert torch.equal(one.second.last.weight, other.second.last.weight)


def test_recorded_features_lacking_a_layer_are_refused(residual, images):
    features = proxy.record_dense(residual, images, ["first"])
    with pytest.raises(proxy.MissingInput, match="second"):
        proxy.calibrate(proxy.compress(residual, RESIDUAL), images, reference=features, level="reconstruction")


def test_what_works_in_place_does_not_spoil_the_targets(images):
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(inplace=inplace), nn.Conv2d(10, 9, 3)) for inplace in (0, 1)]
    nets[1].load_state_dict(nets[0].state_dict())
    choice = {"0": {"method": "cp3", "rank": 6}, "2": {"method": "cp3", "rank": 6}}
    models = [proxy.compress(net, choice) for net in nets]
    for model, net in zip(models, nets, strict=True):
        proxy.calibrate(model, images, reference=net, level="reconstruction")
    assert torch.equal(models[0][0].last.weight, models[1][0].last.weight)


@pytest.mark.parametrize("which", ["small", "residual"])
@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["layer by layer", "in portions"])
def test_images_too_many_for_one_pass_give_the_same(which, limit, small, residual, images, monkeypatch):
    net, choice = (small, CHOICE) if which == "small" else (residual, RESIDUAL)
    one, other = (proxy.compress(net, choice) for _ in range(2))
    told = proxy.calibrate(one, images, reference=net, level="reconstruction")
    monkeypatch.setattr("proxy.reconstruction._BYTES_AT_ONCE", limit)
    assert proxy.calibrate(other, images, reference=net, level="reconstruction") == told
    last = list(choice)[-1]
    refitted = [model.get_submodule(last).last.weight for model in (one, other)]
    torch.testing.assert_close(*refitted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sweeps", [0, 2])
def test_positions_that_are_enough_leave_the_outputs_nearly_as_close(sweeps, small, images, monkeypatch):
    every, some = (proxy.compress(small, CHOICE) for _ in range(2))
    proxy.calibrate(every, images, reference=small, level="reconstruction", sweeps=sweeps)
    monkeypatch.setattr("proxy.targets._ENOUGH", 40 * 128)  # of 144 positions, or fewer, of 128 images
    proxy.calibrate(some, images, reference=small, level="reconstruction", sweeps=sweeps)
    assert not torch.equal(every.conv1.last.weight, some.conv1.last.weight)
    kl = [proxy.score(model, images, reference=small, metric="kl").value for model in (every, some)]
    assert kl[1] < 1.1 * kl[0]


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


def test_layers_are_done_in_portions_that_fit_into_memory_in_their_order(monkeypatch):
    monkeypatch.setattr("proxy.reconstruction._BYTES_AT_ONCE", 600)
    monkeypatch.setattr("proxy.reconstruction._ALIVE", 1)
    sizes = {name: Footprint(kept, 6) for name, kept in {"a": 3, "b": 3, "c": 1, "d": 5}.items()}
    assert _portions(sizes, 100) == [["a", "b"], ["c", "d"]]


def test_a_layer_too_large_for_any_portion_is_done_by_passes(monkeypatch):
    monkeypatch.setattr("proxy.reconstruction._BYTES_AT_ONCE", 600)
    assert _portions({"a": Footprint(1, 1), "b": Footprint(1, 7)}, 100) is None
