import pytest
import tensorly as tl
import torch
from tensorly.decomposition import parafac

import proxy
import proxy.cp3
from proxy.cp3 import CPOptions, cp3
from proxy.kernel import Kernel
from tests.proxy.conftest import cp_tensor, seeded


def test_an_exact_low_rank_kernel_is_found():
    found = proxy.decompose(cp_tensor(10, 8, 9, 4), "cp3", 4, solver="als", max_sweeps=500, tolerance=0)
    assert found.relative_error < 1e-5


@pytest.mark.parametrize("rank", [3, 10, 25])
def test_the_error_is_as_low_as_tensorlys(rank):
    tensor = seeded(12, 10, 9)
    with tl.backend_context("numpy"):
        _, errors = parafac(tensor.numpy(), rank, n_iter_max=200, init="svd", tol=1e-9, return_errors=True)
    found = proxy.decompose(tensor, "cp3", rank, solver="als", max_sweeps=200, tolerance=1e-9)
    assert found.relative_error < float(errors[-1]) * 1.02


@pytest.mark.parametrize("solver", ["als", "epc"])
def test_a_rank_far_above_need_is_exact(solver):
    found = proxy.decompose(cp_tensor(6, 6, 9, 2), "cp3", 30, solver=solver)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors.values())
    assert found.relative_error < 1e-3


@pytest.mark.parametrize("rank", [1, 5, 30])
def test_an_all_one_kernel(rank):
    found = proxy.decompose(torch.ones(6, 5, 3, 3), "cp3", rank)
    torch.testing.assert_close(found.reconstruct(), torch.ones(6, 5, 3, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", ["als", "epc"])
def test_the_largest_rank_is_exact(solver):
    found = proxy.decompose(seeded(6, 5, 3, 3, dtype=torch.float32), "cp3", 30, solver=solver)
    assert found.relative_error < 1e-3


def test_large_kernels_work_in_single_precision_and_tell_their_true_error():
    weight = seeded(40, 40, 3, 3, dtype=torch.float32)
    assert proxy.cp3.working(Kernel(weight)).dtype == torch.float32
    found = proxy.decompose(weight, "cp3", 8, max_sweeps=6)
    expected = (found.reconstruct() - weight).norm() / weight.norm()
    assert found.relative_error == pytest.approx(float(expected), rel=1e-4)


def test_a_nearly_exact_kernel_goes_on_in_double_precision():
    weight = cp_tensor(40, 40, 9, 3).float().reshape(40, 40, 3, 3)
    assert proxy.decompose(weight, "cp3", 3, max_sweeps=200, tolerance=1e-6, solver="als").relative_error < 1e-5


def problems():
    return [(Kernel(seeded(8, 7, 3, 3, seed=seed)), rank) for seed, rank in enumerate([12, 4, 11, 9, 30, 4])] + [
        (Kernel(seeded(5, 7, 3, 3)), 6)
    ]


def test_what_a_kernel_gets_does_not_depend_on_its_company():
    many = cp3(problems(), CPOptions())
    for (kernel, rank), found in zip(problems(), many, strict=True):
        alone = cp3([(kernel, rank)], CPOptions())[0]
        assert found.sweeps == alone.sweeps
        assert found.error == pytest.approx(alone.error, rel=1e-9)
        torch.testing.assert_close(found.out, alone.out, rtol=1e-6, atol=1e-9)


def test_stacks_hold_one_shape_and_close_ranks():
    given = problems()
    chunks = proxy.cp3._chunks(given)
    assert sorted(at for chunk in chunks for at in chunk) == list(range(len(given)))
    for chunk in chunks:
        ranks = [given[at][1] for at in chunk]
        assert len({given[at][0].size for at in chunk}) == 1
        assert min(ranks) >= 0.75 * max(ranks)


def test_two_threads_find_what_one_finds():
    alone = cp3(problems(), CPOptions())
    torch.set_num_threads(2)
    both = cp3(problems(), CPOptions())
    assert torch.get_num_threads() == 2
    assert all(torch.equal(one.out, other.out) for one, other in zip(alone, both, strict=True))


@pytest.mark.shared
def test_a_real_kernel_reaches_the_error_of_three_hundred_plain_sweeps(real_kernel):
    with tl.backend_context("pytorch"):
        _, errors = parafac(real_kernel.reshape(64, 64, 9), 64, n_iter_max=300, init="svd", tol=0, return_errors=True)
    found = proxy.decompose(real_kernel, "cp3", 64, solver="als", max_sweeps=150, tolerance=0)
    assert found.relative_error < float(errors[-1])
    assert found.rank_one_energy > 10  # degenerate: healthy is about 1


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
@pytest.mark.parametrize("slack", [0.01, 0.5])
def test_no_slack_admits_the_zero_tensor(rank, slack):
    """Where a rank explains hardly anything, the slack is taken of that little."""
    weight = seeded(32, 32, 3, 3, dtype=torch.float32)
    plain = proxy.decompose(weight, "cp3", rank, solver="als")
    found = proxy.decompose(weight, "cp3", rank, max_error_slack=slack)
    explained, left = 1 - plain.relative_error**2, 1 - found.relative_error**2
    assert left > explained * (0.9 if slack == 0.01 else 0.4)
    assert float(found.reconstruct().norm()) > 0


def test_autocast_around_the_call_does_not_reach_the_solver():
    weight = seeded(8, 7, 3, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = proxy.decompose(weight, "cp3", 5)
    assert torch.equal(found.tensors["out"], proxy.decompose(weight, "cp3", 5).tensors["out"])
