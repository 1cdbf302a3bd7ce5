import pytest
import tensorly as tl
import torch
from tensorly.decomposition import parafac

import proxy
from proxy.cp3_als import als, initial
from proxy.kernel import Kernel
from tests.proxy.conftest import cp_tensor, seeded


def true_error(kernel, cp):
    return float((torch.einsum("tr,sr,dr->tsd", *cp.tensors) - kernel.tensor).norm())


def test_the_start_of_full_rank_is_nearly_exact():
    kernel = Kernel(seeded(6, 5, 9))
    assert true_error(kernel, initial(kernel, 45, 0)) < 0.05


def test_the_start_beats_the_energy_of_its_slices():
    kernel = Kernel(seeded(6, 5, 9))
    values = kernel.slice_svds[1].flatten().square().sort(descending=True).values
    assert true_error(kernel, initial(kernel, 10, 0)) == pytest.approx(float((1 - values[:10].sum()).sqrt()), abs=0.01)


def test_the_error_told_is_the_error():
    kernel = Kernel(seeded(8, 7, 9))
    found = als(kernel, initial(kernel, 12, 0), max_sweeps=25, tolerance=0)
    assert found.error == pytest.approx(true_error(kernel, found), rel=1e-8)


def test_more_sweeps_are_never_worse():
    kernel = Kernel(seeded(8, 7, 9))
    errors = [als(kernel, initial(kernel, 12, 0), max_sweeps=n, tolerance=0).error for n in range(1, 40)]
    assert errors == sorted(errors, reverse=True)


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


def test_a_rank_far_above_need_gives_finite_factors():
    found = proxy.decompose(cp_tensor(6, 6, 9, 2), "cp3", 30)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors.values())
    assert found.relative_error < 1e-3


def test_large_kernels_work_in_float32():
    weight = seeded(130, 128, 3, 3, dtype=torch.float32)
    found = proxy.decompose(weight, "cp3", 8, max_sweeps=6)
    assert Kernel(weight).tensor.dtype == torch.float32
    expected = (found.reconstruct() - weight).norm() / weight.norm()
    assert found.relative_error == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.shared
def test_a_real_kernel_reaches_the_error_of_three_hundred_plain_sweeps(real_kernel):
    found = proxy.decompose(real_kernel, "cp3", 64, solver="als", max_sweeps=300, tolerance=0)
    assert 0.58 < found.relative_error < 0.6
    assert found.rank_one_energy > 10  # degenerate: healthy is about 1
