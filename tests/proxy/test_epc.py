import numpy as np
import pytest
import torch
from scipy.optimize import brentq

import proxy
from proxy.cp3_als import als, initial
from proxy.epc import _energy, _updated, epc, multiplier
from proxy.factors import khatri_rao
from proxy.kernel import Kernel
from proxy.sensitivity import balance, sensitivity
from tests.proxy.conftest import seeded


def error(kernel, cp):
    return float((torch.einsum("tr,sr,dr->tsd", *cp.tensors) - kernel.tensor).norm())


def by_sweep(kernel, start, bound, sweeps):
    return [epc(kernel, start, bound=bound, max_sweeps=n, tolerance=0) for n in range(1, sweeps + 1)]


@pytest.fixture
def kernel():
    return Kernel(seeded(8, 7, 9))


@pytest.fixture
def start(kernel):
    return als(kernel, initial(kernel, 14, 0), max_sweeps=60, tolerance=0)


@pytest.mark.parametrize("slack", [0.0, 0.01, 0.1])
def test_the_error_stays_within_the_bound_at_every_sweep(kernel, start, slack):
    bound = start.error * (1 + slack)
    assert all(error(kernel, cp) <= bound * (1 + 1e-9) for cp in by_sweep(kernel, start, bound, 12))


@pytest.mark.parametrize("slack", [0.0, 0.01, 0.1])
def test_the_sensitivity_never_rises(kernel, start, slack):
    values = [float(sensitivity(*balance(*start.tensors)))]
    values += [float(sensitivity(*cp.tensors)) for cp in by_sweep(kernel, start, start.error * (1 + slack), 12)]
    assert values == sorted(values, reverse=True)


def test_the_slack_is_used_up(kernel, start):
    found = epc(kernel, start, bound=start.error * 1.05, max_sweeps=5, tolerance=0)
    assert error(kernel, found) == pytest.approx(start.error * 1.05, rel=1e-5)


def test_one_update_solves_its_problem_exactly(kernel, start):
    """No feasible factor A has a lower sensitivity: checked against many feasible ones around the solution."""
    _, b, c = balance(*start.tensors)
    bound = start.error * 1.05
    weight = (9 * _energy(b) + 7 * _energy(c)).sqrt()
    gamma = (b.mT @ b) * (c.mT @ c)
    best, _, _ = _updated(kernel.tensor.flatten(1) @ khatri_rao(b, c), gamma, weight, bound**2, 1e-3)
    least = float(sensitivity(best, b, c))
    generator = torch.Generator().manual_seed(3)
    for size in (1e-4, 1e-3, 1e-2, 1e-1):
        for _ in range(100):
            other = best + size * torch.randn(best.shape, generator=generator, dtype=best.dtype) * best.abs().mean()
            other = other * (1 - size * float(torch.rand((), generator=generator)))
            if float((torch.einsum("tr,sr,dr->tsd", other, b, c) - kernel.tensor).norm()) <= bound:
                assert float(sensitivity(other, b, c)) >= least * (1 - 1e-9)


@pytest.mark.parametrize("gap", [1e-9, 1e-3, 0.2, 0.9])
@pytest.mark.parametrize("guess", [1e-12, 1e-3, 1e6])
def test_the_multiplier_is_the_root(gap, guess):
    energies, values = seeded(12, seed=1).square(), seeded(12, seed=2).square()
    gap = gap * float(energies.sum())

    def height(log_mu):
        mu = np.exp(log_mu)
        return float((energies * (mu / (values + mu)).square()).sum()) - gap

    expected = np.exp(brentq(height, -60, 60, xtol=1e-14))
    assert multiplier(energies, values, gap, guess) == pytest.approx(expected, rel=1e-4)


def test_the_multiplier_without_room_is_zero():
    assert multiplier(torch.ones(3), torch.ones(3), 0.0, 1.0) == 0


def test_the_multiplier_out_of_reach_is_infinite():
    assert multiplier(torch.ones(3), torch.ones(3), 3.5, 1.0) == float("inf")


@pytest.mark.shared
def test_a_real_kernel_is_stabilised(real_kernel):
    loose = proxy.decompose(real_kernel, "cp3", 64, solver="als", max_sweeps=300)
    stable = proxy.decompose(real_kernel, "cp3", 64, solver="epc", max_sweeps=300)
    assert stable.relative_error <= loose.relative_error * 1.01 * (1 + 1e-6)
    assert stable.sensitivity < 0.5 * loose.sensitivity


@pytest.mark.shared
def test_more_slack_buys_more_stability(real_kernel):
    found = [proxy.decompose(real_kernel, "cp3", 64, max_error_slack=slack).sensitivity for slack in (0.0, 0.01, 0.02)]
    assert found == sorted(found, reverse=True)
