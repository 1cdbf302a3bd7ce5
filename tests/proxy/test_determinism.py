"""Same seed, same device: the same factors, by every method and solver."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import proxy
from tests.proxy.conftest import WAYS, seeded

pytestmark = pytest.mark.filterwarnings("ignore:Trying to compute SVD")  # TensorLy's word on ranks above the sides

RANKS = {"svd": 4, "spatial_svd": 5, "tucker2": (4, 3), "cp3": 12, "tucker2_cp3": (4, 3, 8)}
BY_METHOD = pytest.mark.parametrize(("method", "solver"), WAYS)


def weight_for(method, seed=0):
    return seeded(8, 7, seed=seed) if method == "svd" else seeded(8, 7, 3, 3, seed=seed)


def decomposed(method, solver, **options):
    return proxy.decompose(weight_for(method), method, RANKS[method], solver=solver, **options)


def same(one, other):
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def digest():
    """One hash of the factors by all methods and solvers."""
    made = hashlib.sha256()
    for method, solver in WAYS:
        for tensor in decomposed(method, solver).tensors.values():
            made.update(tensor.numpy().tobytes())
    return made.hexdigest()


@BY_METHOD
def test_after_other_decompositions(method, solver):
    before = decomposed(method, solver)
    torch.manual_seed(5)
    for other, its_solver in WAYS:
        proxy.decompose(weight_for(other, seed=3), other, RANKS[other], solver=its_solver, seed=7, max_sweeps=2)
    proxy.rank_ladder(weight_for(method), method, [RANKS[method]], seed=7)
    assert same(before, decomposed(method, solver))


@BY_METHOD
def test_alone_among_many(method, solver):
    (found,) = proxy.decompose_many([(weight_for(method), method, RANKS[method])], solver=solver)
    assert same(found, decomposed(method, solver))


@BY_METHOD
def test_many_in_another_order_but_for_round_off(method, solver):
    """Of one shape and neighbouring ranks, so that they are solved together."""
    weights = [weight_for(method, seed) for seed in range(3)] + [weight_for("tucker2", 4)]
    methods = [method] * 3 + ["cp3"]
    problems = [(weight, name, RANKS[name]) for weight, name in zip(weights, methods, strict=True)]
    forward = proxy.decompose_many(problems, solver=solver)
    backward = proxy.decompose_many(problems[::-1], solver=solver)[::-1]
    for one, other, (weight, name, ranks) in zip(forward, backward, problems, strict=True):
        alone = proxy.decompose(weight, name, ranks, solver=solver)
        for found in (one, other):
            assert found.sweeps == alone.sweeps
            for part in alone.tensors:
                torch.testing.assert_close(found.tensors[part], alone.tensors[part], rtol=1e-5, atol=1e-7)
    again = proxy.decompose_many(problems, solver=solver)
    assert all(same(one, other) for one, other in zip(forward, again, strict=True))


@BY_METHOD
def test_a_ladder_climbed_twice(method, solver):
    ranks = [RANKS[method], tuple(1 for _ in RANKS[method]) if isinstance(RANKS[method], tuple) else 1]
    one, other = (proxy.rank_ladder(weight_for(method), method, ranks, solver=solver) for _ in range(2))
    assert all(same(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("method", ["cp3", "tucker2_cp3"])
@pytest.mark.parametrize("solver", ["epc", "als"])
def test_another_seed_starts_elsewhere_and_ends_alike(method, solver):
    one, other = (decomposed(method, solver, seed=seed) for seed in (0, 1))
    assert not same(one, other)
    assert one.relative_error == pytest.approx(other.relative_error, rel=0.1)


def test_in_another_process():
    """What a cache of factors relies on."""
    code = "import torch; torch.set_num_threads(1); from tests.proxy import test_determinism as t; print(t.digest())"
    command = [sys.executable, "-W", "ignore", "-c", code]
    other = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == digest()
