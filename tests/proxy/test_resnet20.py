"""The whole way on a real network: published weights, CIFAR-10 (JPEG), no fine-tuning."""

import pytest
import torch

import proxy

pytestmark = [pytest.mark.shared, pytest.mark.slow]

IMAGE = torch.zeros(1, 3, 32, 32)
CUT = 0.33


@pytest.fixture(scope="module")
def net(cifar):
    return cifar.resnet(20)


@pytest.fixture(scope="module")
def calibration(cifar):
    images, _ = cifar.images("train", 512)
    return list(cifar.preprocess(images).split(128))


@pytest.fixture(scope="module")
def validation(cifar):
    images, labels = cifar.images("test", 2000)
    return list(zip(cifar.preprocess(images).split(250), labels.split(250), strict=True))


@pytest.fixture(scope="module")
def sites(net):
    return [site for site in proxy.find_sites(net, IMAGE) if site.kind == "conv2d" and site.name != "conv1"]


@pytest.fixture(scope="module")
def uniform(sites):
    ranks = {}
    for site in sites:
        one = site.grids["cp3"][0]
        ranks[site.name] = {"method": "cp3", "rank": int(CUT * site.macs * one.ranks["rank"] / one.macs)}
    return ranks


@pytest.fixture(scope="module")
def equal_error(net, sites):
    """The cheapest grid points of one relative error in every layer, at the same cost."""
    problems = [(net.get_submodule(s.name).weight, "cp3", p.ranks) for s in sites for p in s.grids["cp3"]]
    errors = iter(factors.relative_error for factors in proxy.decompose_many(problems))
    table = {site.name: [(point, next(errors)) for point in site.grids["cp3"]] for site in sites}
    budget = CUT * sum(site.macs for site in sites)
    for bound in sorted(error for points in table.values() for _, error in points):
        picked = {
            name: next((point for point, error in points if error <= bound), points[-1][0])
            for name, points in table.items()
        }
        if sum(point.macs for point in picked.values()) <= budget:
            return {name: {"method": "cp3", **point.ranks} for name, point in picked.items()}
    pytest.fail("no bound fits the budget")


def accuracy(net, ranks, calibration, validation, level="statistics"):
    model = proxy.compress(net, ranks)
    if level:
        proxy.calibrate(model, calibration, reference=net, level=level)
    return proxy.score(model, validation).value


def test_uniform_ranks_keep_four_images_in_five(net, uniform, calibration, validation):
    assert 0.79 < accuracy(net, uniform, calibration, validation) < 0.84


def test_statistics_are_what_saves_them(net, uniform, calibration, validation):
    assert accuracy(net, uniform, calibration, validation, level="") < 0.6


def test_equal_error_is_better_than_uniform(net, uniform, equal_error, calibration, validation):
    better, even = (accuracy(net, ranks, calibration, validation) for ranks in (equal_error, uniform))
    assert better > even + 0.01


def test_reconstruction_is_better_still(net, equal_error, calibration, validation):
    assert accuracy(net, equal_error, calibration, validation, level="reconstruction") > 0.845
