import copy

import numpy as np
import pytest
import torch
from torch import nn

import proxy
from proxy.alternating import _by_group, _Chain, add_patches, alternate, can_alternate
from proxy.moments import CrossMoments
from proxy.surroundings import Surroundings
from proxy.targets import Sample, Target
from tests.proxy.conftest import seeded
from tests.proxy.test_calibrate import CHOICE, outputs

METHODS = {
    "svd": {"method": "svd", "rank": 3},
    "cp3": {"method": "cp3", "rank": 5},
    "spatial_svd": {"method": "spatial_svd", "rank": 4},
    "tucker2": {"method": "tucker2", "ranks": {"out": 4, "in": 3}},
    "tucker2_cp3": {"method": "tucker2_cp3", "ranks": {"out": 4, "in": 3, "cp": 5}},
}
WALKS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": "same", "padding_mode": "reflect"},
    {"padding": (2, 1), "dilation": (2, 1), "stride": (1, 2), "padding_mode": "circular"},
]


def layer(method, groups=1, **walk):
    """A factorised layer, the dense one, and images for both."""
    torch.manual_seed(0)
    kernel = 1 if method == "svd" else (3, 5)
    dense = nn.Sequential(nn.Conv2d(6 * groups, 7 * groups, kernel, groups=groups, **walk))
    chain = proxy.compress(dense, {"0": METHODS[method]})[0]
    return chain, dense[0], seeded(4, 6 * groups, 11, 13, dtype=torch.float32)


def chains(chain, groups=1):
    """The chain of every group."""
    stacks = [_by_group(link, groups).double() for link in chain]
    return [_Chain(chain.method, [stack[group] for stack in stacks]) for group in range(groups)]


def target(chain, output):
    """Of a chain that nothing is added to."""
    is_linear, images = isinstance(chain.last, nn.Linear), len(output)
    sample = Sample.of(output, None, channels_last=is_linear, images=images)
    return Target(sample, Surroundings(norm=None, alone=False, shortcut=None), None, images)


def moments_of(chain, dense, images):
    found = CrossMoments()
    with torch.no_grad():
        add_patches(found, chain, images, target(chain, dense(images)))
    return found


def error(chain, dense, images):
    """Mean squared error of the outputs, whatever their bias."""
    with torch.no_grad():
        wrong = (chain(images) - dense(images)).double().movedim(1, -1).flatten(0, -2)
    return float((wrong - wrong.mean(0)).square().mean())


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_kernel_times_patches_is_what_the_chain_computes(method, groups, walk):
    """So the moments are about what the layer sees, and the product is its kernel."""
    chain, _, images = layer(method, groups, **walk)
    seen = CrossMoments()
    with torch.no_grad():
        output = chain(images)
        add_patches(seen, chain, images, target(chain, output))
    whole = torch.block_diag(*(each._product(0, each._factors[0]) for each in chains(chain, groups)))
    torch.testing.assert_close(whole @ seen.covariance, seen.cross, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_adjoint_is_the_adjoint(method):
    chain = chains(layer(method)[0])[0]
    for number, factor in enumerate(chain._factors):
        change = seeded(*factor.shape, seed=number)
        image = chain._product(number, change)
        kernel = seeded(*image.shape, seed=9)
        back = chain._adjoint(number, kernel)
        assert back.shape == factor.shape
        torch.testing.assert_close((image * kernel).sum(), (change * back).sum())


def test_a_turn_is_the_ridge_regression():
    """Each turn against an augmented least-squares problem solved by NumPy."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(4, 3))
    chain = proxy.compress(dense, {"0": {"method": "svd", "rank": 2}})[0]
    images = seeded(50, 4, dtype=torch.float32) @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1]))
    x = (images - images.mean(0)).double().numpy() / 50**0.5
    y = x @ dense[0].weight.detach().double().numpy().T
    inner, outer = (link.weight.detach().double().numpy() for link in chain)
    alternate(chain, moments_of(chain, dense[0], images), sweeps=1)

    def turn(factor, columns):
        kernel = outer @ inner
        ridge = 1e-3 * np.sum((x @ kernel.T) ** 2) / np.sum(factor**2)
        left = np.vstack([columns, ridge**0.5 * np.eye(factor.size)])
        right = np.concatenate([(y - x @ kernel.T).ravel(), np.zeros(factor.size)])
        return factor + np.linalg.lstsq(left, right, rcond=None)[0].reshape(factor.shape)

    # Row n, output t, of the product is Σ outer[t, r] inner[r, s] x[n, s].
    outer = turn(outer, np.einsum("ns,rs,tu->ntur", x, inner, np.eye(3)).reshape(150, 6))
    inner = turn(inner, np.einsum("ns,tr->ntrs", x, outer).reshape(150, 8))
    np.testing.assert_allclose(chain[1].weight.detach().numpy(), outer, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(chain[0].weight.detach().numpy(), inner, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_every_sweep_lessens_the_error_of_the_outputs(method, groups):
    chain, dense, images = layer(method, groups)
    images = images * torch.linspace(0.1, 3, images.shape[1])[:, None, None]  # far from white
    moments = moments_of(chain, dense, images)
    errors = [error(chain, dense, images)]
    for _ in range(4):
        alternate(chain, moments, sweeps=1)
        errors.append(error(chain, dense, images))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.95 * errors[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_keep_their_type_and_their_order_in_memory(dtype):
    chain, dense, images = layer("tucker2", groups=2)
    chain, dense = (each.to(dtype).to(memory_format=torch.channels_last) for each in (chain, dense))
    images = (images * torch.linspace(0.1, 3, images.shape[1])[:, None, None]).to(dtype)
    before = error(chain, dense, images)
    alternate(chain, moments_of(chain, dense, images), sweeps=2)
    assert error(chain, dense, images) < 0.95 * before
    assert {link.weight.dtype for link in chain} == {dtype}
    assert all(link.weight.is_contiguous(memory_format=torch.channels_last) for link in chain)


def test_features_that_never_vary_change_nothing():
    chain, dense, images = layer("cp3")
    before = copy.deepcopy(chain.state_dict())
    alternate(chain, moments_of(chain, dense, torch.zeros_like(images)), sweeps=2)
    torch.testing.assert_close(chain.state_dict(), before, rtol=0, atol=0)


def test_few_positions_of_many_images_are_looked_at(monkeypatch):
    chain, dense, images = layer("cp3")
    monkeypatch.setattr("proxy.alternating._ROWS", 40)
    monkeypatch.setattr("proxy.alternating._ROWS_AN_ENTRY", 0)
    assert moments_of(chain, dense, images).count == 40
    torch.testing.assert_close(
        moments_of(chain, dense, images).covariance, moments_of(chain, dense, images).covariance, rtol=0, atol=0
    )


@pytest.mark.parametrize("cls", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d])
def test_other_layers_have_their_last_layer_refitted_as_without_sweeps(cls):
    torch.manual_seed(0)
    axes = 2 if cls is nn.ConvTranspose2d else int(cls.__name__[4])
    dense = nn.Sequential(cls(4, 8, 3))
    images = [seeded(8, 4, *(7,) * axes, dtype=torch.float32)]
    plain, swept = (proxy.compress(dense, {"0": {"method": "cp3", "rank": 3}}) for _ in range(2))
    assert not can_alternate(swept[0])
    proxy.calibrate(plain, images, reference=dense, level="reconstruction")
    proxy.calibrate(swept, images, reference=dense, level="reconstruction", sweeps=2)
    torch.testing.assert_close(swept.state_dict(), plain.state_dict())


@pytest.fixture
def calibrated(small, images):
    def calibrate(**options):
        model = proxy.compress(small, CHOICE)
        proxy.calibrate(model, images, **{"reference": small, "level": "reconstruction", **options})
        return model

    return calibrate


def distance(small, model, images):
    """Mean squared distance of the last layer's outputs."""
    return float((outputs(model, "fc", images) - outputs(small, "fc", images)).square().mean())


def test_a_network_comes_nearer_to_the_dense_one(small, images, calibrated):
    plain, swept = calibrated(), calibrated(sweeps=2)
    assert distance(small, swept, images) < 0.8 * distance(small, plain, images)
    assert proxy.cost(swept, images[0]).params == proxy.cost(plain, images[0]).params


def test_with_little_memory_and_with_recorded_features_it_comes_to_the_same(small, images, calibrated):
    swept = calibrated(sweeps=2)
    for other in (
        calibrated(sweeps=2, memory=0),
        calibrated(sweeps=2, memory=4 << 20),
        calibrated(sweeps=2, reference=proxy.record_dense(small, images, CHOICE)),
    ):
        torch.testing.assert_close(outputs(other, "fc", images), outputs(swept, "fc", images), rtol=1e-3, atol=1e-3)
