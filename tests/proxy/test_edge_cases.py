"""Kernels at the edge of what there is: for every method and solver a finite result that tells its error.

What is refused instead is in :mod:`tests.proxy.test_refusals`.
"""

from dataclasses import replace
from itertools import pairwise
from math import prod, sqrt

import pytest
import torch

import proxy
from proxy.ranks import maximum_ranks
from proxy.solvers import refuse_shape
from tests.proxy.conftest import WAYS, cp_tensor, seeded

OUT, INN = 4, 3
PLAIN = (OUT, INN, 3, 3)


def dead_channels():
    weight = seeded(*PLAIN)
    weight[:, 2] = 0
    weight[3] = 0
    weight[..., 0] = 0
    return weight


KERNELS = {
    "zero": torch.zeros(PLAIN),
    "one everywhere": torch.ones(PLAIN),
    "one entry": torch.nn.functional.one_hot(torch.tensor(17), prod(PLAIN)).double().view(PLAIN),
    "identity": torch.eye(4)[:, :, None, None].repeat(1, 1, 3, 3),
    "rank two": cp_tensor(OUT, INN, 9, 2).view(PLAIN),
    "rank two, single": cp_tensor(OUT, INN, 9, 2).view(PLAIN).float(),
    "dead channels": dead_channels(),
    "channels of 1e-30": seeded(*PLAIN) * torch.tensor([1, 1e-15, 1e-30]).double()[:, None, None],
    "one channel": seeded(1, 1, 3, 3),
    "one input": seeded(OUT, 1, 3, 3),
    "one output": seeded(1, INN, 3, 3),
    "1×3": seeded(OUT, INN, 1, 3),
    "3×1": seeded(OUT, INN, 3, 1),
    "1-d": seeded(OUT, INN, 3),
    "3-d": seeded(3, 4, 2, 1, 3),
    "1e300": seeded(*PLAIN) * 1e300,
    "1e37, single": (seeded(*PLAIN) * 1e37).float(),
    "denormal": seeded(*PLAIN) * 1e-310,
    "denormal, single": (seeded(*PLAIN) * 1e-40).float(),
    "half": seeded(*PLAIN).half(),
    "denormal, half": (seeded(*PLAIN) * 2e-5).half(),
    "bfloat16": seeded(*PLAIN).bfloat16(),
    "large, half": (seeded(*PLAIN) * 1e3).half(),
    "in single precision": seeded(46, 45, 2).float(),
    "in single precision, rank two": cp_tensor(46, 45, 2, 2).float(),
    "linear": seeded(OUT, INN),
    "linear, zero": torch.zeros(OUT, INN),
    "linear, one everywhere": torch.ones(OUT, INN),
    "linear, one entry": torch.eye(OUT, 1).double(),
    "1×1": seeded(1, 1),
    "pointwise, 1e300": seeded(OUT, INN, 1, 1) * 1e300,
    "linear, denormal": seeded(OUT, INN) * 1e-310,
}
"""Name → weight."""

GRANULARITY = {"denormal, single": 1e-4, "denormal, half": 1e-2}
"""How coarse numbers are there, relative to the weight: no factors are finer."""

quietly = pytest.mark.filterwarnings("ignore:Trying to compute SVD")  # TensorLy's word on ranks above a kernel's sides


def fitting(method):
    """The names of the kernels that the method is for."""
    return [name for name, weight in KERNELS.items() if refuse_shape(method, weight.shape) is None]


def cases(ways):
    return [pytest.param(name, *way, id=f"{name}, {way}") for way in ways for name in fitting(way[0])]


def rising_ranks(method, shape):
    """Ranks on the way up: one, what a kernel of rank two needs, half the maximum, the maximum."""
    top = maximum_ranks(method, shape)
    steps = [1, 2, *(max(2, limit // 2) for limit in top[-1:]), max(top)]
    ranks = [tuple(min(step, limit) for limit in top) for step in steps]
    if method == "tucker2_cp3":
        ranks = [(*pair, min(cp, *maximum_ranks("cp3", (*pair, prod(shape[2:]))))) for *pair, cp in ranks]
    return list(dict.fromkeys(ranks))


def true_error(weight, factors):
    """In double precision, of the factors as they are, the weight scaled to be squared safely."""
    weight = weight.double()
    size = float(weight.abs().max()) or 1.0
    wide = replace(factors, tensors={name: tensor.double() for name, tensor in factors.tensors.items()})
    return float(((weight - wide.reconstruct()) / size).norm() / max(float((weight / size).norm()), 1e-9))


def check(name, weight, factors, ranks):
    assert factors.ranks == ranks
    proxy.Factors.restore(factors.tensors, factors.record())  # of the shapes that the ranks ask for
    assert all(bool(torch.isfinite(tensor).all()) for tensor in factors.tensors.values())
    assert {tensor.dtype for tensor in factors.tensors.values()} == {weight.dtype}
    round_off = torch.finfo(weight.dtype).eps * sqrt(3 * max(1.0, factors.rank_one_energy or 0.0))
    slack = 1e-7 + round_off + GRANULARITY.get(name, 0.0)
    assert factors.relative_error == pytest.approx(true_error(weight, factors), abs=slack)
    assert factors.relative_error <= 1 + 1e-9
    if factors.sensitivity is not None:
        assert 0 <= factors.sensitivity < float("inf")


def check_all(name, weight, found, ranks):
    for factors, wanted in zip(found, ranks, strict=True):
        check(name, weight, factors, wanted)
    # Iterations end near the best, not in it: a higher rank may be worse by two per cent, or by what counts as exact.
    for lower, higher in pairwise(factors.relative_error for factors in found):
        assert higher <= 1.02 * lower + 2e-3
    assert found[-1].relative_error < 2e-3  # the maximum represents any kernel


@quietly
@pytest.mark.parametrize(("name", "method", "solver"), cases(WAYS))
def test_many_ranks_of_one_kernel(name, method, solver):
    weight = KERNELS[name]
    ranks = rising_ranks(method, weight.shape)
    check_all(name, weight, proxy.decompose_many([(weight, method, r) for r in ranks], solver=solver), ranks)


@quietly
@pytest.mark.parametrize(("name", "method", "solver"), cases([("cp3", "epc"), ("cp3", "als")]))
def test_a_ladder_of_one_kernel(name, method, solver):
    weight = KERNELS[name]
    ranks = rising_ranks(method, weight.shape)
    check_all(name, weight, proxy.rank_ladder(weight, method, ranks, solver=solver), ranks)


@pytest.mark.parametrize("objective", ["sensitivity", "energy"])
@pytest.mark.parametrize("name", ["one everywhere", "one entry", "dead channels", "1e300", "denormal"])
def test_a_kernel_alone_whatever_is_kept_small(name, objective):
    weight = KERNELS[name]
    for method in ("cp3", "tucker2_cp3"):
        for ranks in rising_ranks(method, weight.shape):
            check(name, weight, proxy.decompose(weight, method, ranks, objective=objective), ranks)


@quietly
@pytest.mark.parametrize("bound", [1.0, 0.4, 0.0])
@pytest.mark.parametrize(("method", "solver"), WAYS)
def test_ranks_for_an_error_meet_it_or_are_the_maximum(method, solver, bound):
    convolutions = ["one everywhere", "one entry", "rank two", "one output", "1-d", "denormal"]
    for name in [*convolutions, "linear", "linear, one everywhere", "1×1"]:
        weight = KERNELS[name][:3, :3]
        if refuse_shape(method, weight.shape) is not None:
            continue
        ranks = proxy.ranks_for_error(weight, method, bound, solver=solver, max_sweeps=10)
        found = proxy.decompose(weight, method, ranks, solver=solver, max_sweeps=10)
        assert found.relative_error <= bound or found.ranks == maximum_ranks(method, weight.shape), name
        if bound == 1:
            assert set(found.ranks) == {1}, name


@pytest.mark.parametrize("method", ["svd", "spatial_svd", "tucker2"])
def test_ranks_by_energy_and_by_variational_bayes_are_within_range(method):
    for name in fitting(method):
        weight = KERNELS[name]
        promised = {energy: sqrt((2 if method == "tucker2" else 1) * (1 - energy)) for energy in (1e-9, 0.5, 1.0)}
        for energy, error in promised.items():
            found = proxy.decompose(weight, method, proxy.energy_ranks(weight, method, energy=energy))
            assert found.relative_error <= error + 1e-6 + GRANULARITY.get(name, 0.0), name
        for weakening in (0.0, 0.8, 1.0):
            proxy.decompose(weight, method, proxy.vbmf_ranks(weight, method, weakening=weakening))
        assert proxy.vbmf_ranks(weight, method, weakening=0.0) == proxy.vbmf_ranks(
            seeded(*weight.shape), method, weakening=0.0
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("method", "ranks"), [("cp3", 3), ("cp3", 12), ("tucker2_cp3", (4, 4, 8))])
@pytest.mark.parametrize("solver", ["epc", "als"])
def test_rounding_moves_a_cp_by_as_much_as_told(method, ranks, dtype, solver):
    """ε/5 · √(3 sn), as the docstring of the error says."""
    wide, narrow = (
        proxy.decompose(seeded(6, 5, 3, 3), method, ranks, solver=solver, dtype=kind) for kind in (torch.float64, dtype)
    )
    narrow = replace(narrow, tensors={name: tensor.double() for name, tensor in narrow.tensors.items()})
    moved = float((wide.reconstruct() - narrow.reconstruct()).norm() / seeded(6, 5, 3, 3).norm())
    told = torch.finfo(dtype).eps / 5 * sqrt(3 * wide.rank_one_energy)
    assert told / 2 < moved < 2 * told
