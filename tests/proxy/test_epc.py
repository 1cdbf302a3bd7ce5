import numpy as np
import pytest
import torch
from scipy.optimize import brentq

import proxy
import proxy.epc
from proxy.cp_als import Damping, als
from proxy.cp_products import Products
from proxy.cp_start import slice_terms, started
from proxy.epc import Ridge, epc
from proxy.stability import OBJECTIVES, energies, instability
from tests.proxy.conftest import seeded

RANKS = torch.tensor([14, 14])
SENSITIVITY = OBJECTIVES["sensitivity"]


@pytest.fixture
def products():
    stack = torch.stack([seeded(8, 7, 9), seeded(8, 7, 9, seed=1)])
    return Products(stack / stack.flatten(1).norm(dim=1)[:, None, None, None], 14)


@pytest.fixture
def start(products):
    plain = Damping(SENSITIVITY, 0.0)
    begin = started(slice_terms(products.kernels, 14), RANKS.tolist(), 0)
    return als(products, begin, RANKS, max_sweeps=torch.full((2,), 60), tolerance=0, damping=plain)


def corrected(products, start, slack, sweeps, objective="sensitivity"):
    return epc(
        products,
        start,
        bounds=start.errors * (1 + slack),
        max_sweeps=torch.full((2,), sweeps),
        tolerance=0,
        objective=OBJECTIVES[objective],
    )


def values(stack, objective="sensitivity"):
    return torch.tensor([instability(*(f[at] for f in stack.factors))[objective] for at in range(2)])


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize("slack", [0.0, 0.01, 0.1])
def test_the_errors_stay_within_the_bounds_and_the_objective_never_rises(products, start, slack, objective):
    before = values(start, objective)
    for sweeps in range(1, 12):
        found = corrected(products, start, slack, sweeps, objective)
        assert bool((products.errors(found.factors) <= start.errors * (1 + slack) * (1 + 1e-9)).all())
        now = values(found, objective)
        assert bool((now <= before * (1 + 1e-9)).all())
        before = now


def test_the_slack_is_used_up(products, start):
    found = corrected(products, start, 0.05, 5)
    torch.testing.assert_close(products.errors(found.factors), start.errors * 1.05, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.errors, products.errors(found.factors), rtol=1e-8, atol=0)


def test_each_objective_is_least_after_its_own_update(products, start):
    """Of all A within the bound, each update's is the one with the least of its own objective."""
    _, b, c = start.factors
    found = {}
    for name, objective in OBJECTIVES.items():
        ridge = Ridge(products, RANKS, (start.errors * 1.05) ** 2, objective, torch.full((2,), 1e-3).double())
        for _ in range(20):
            found[name], _ = ridge.updated(0, products.for_out(b, c), b, c)
    for name, other in (("sensitivity", "energy"), ("energy", "sensitivity")):
        weights = OBJECTIVES[name].weights(energies(b), energies(c), (7, 9))
        mine, theirs = ((weights * energies(found[which])).sum(1) for which in (name, other))
        assert bool((mine < theirs).all())


def test_the_update_is_the_ridge_regression_at_the_root(products, start):
    """Against the secular equation, in eigenvalues, solved by a bracketing root finder."""
    _, b, c = start.factors
    limit = (start.errors * 1.05) ** 2
    ridge = Ridge(products, RANKS, limit, SENSITIVITY, torch.full((2,), 1e-3, dtype=torch.float64))
    target = products.for_out(b, c)
    for _ in range(20):  # Newton from one side: repeated, it converges
        factor, square = ridge.updated(0, target, b, c)
    torch.testing.assert_close(square, limit, rtol=1e-6, atol=0)
    for at in range(2):
        root = SENSITIVITY.weights(energies(b), energies(c), (7, 9))[at].sqrt()
        gamma = ((b[at].mT @ b[at]) * (c[at].mT @ c[at])) / root / root[:, None]
        s, q = torch.linalg.eigh(gamma)
        f = ((target[at] / root) @ q).square().sum(0)

        def excess(log_mu, s=s, f=f, at=at):
            mu = np.exp(log_mu)
            return 1 - float((f / s).sum()) + float((f / s * (mu / (s + mu)) ** 2).sum()) - float(limit[at])

        mu = np.exp(brentq(excess, -40, 20, xtol=1e-14))
        weighted = (target[at] / root) @ torch.linalg.inv(gamma + mu * torch.eye(14).double())
        torch.testing.assert_close(factor[at], weighted / root, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("guess", [0.0, 1e-12, 1e-3, 1e3])
def test_an_update_is_feasible_whatever_the_guess(products, start, guess):
    _, b, c = start.factors
    limit = (start.errors * 1.02) ** 2
    ridge = Ridge(products, RANKS, limit, SENSITIVITY, torch.full((2,), guess, dtype=torch.float64))
    _, square = ridge.updated(0, products.for_out(b, c), b, c)
    assert bool((square <= limit * (1 + 1e-12)).all())


def test_a_bound_below_reach_leaves_the_decomposition_alone(products, start):
    found = epc(
        products,
        start,
        bounds=start.errors * 0.5,
        max_sweeps=torch.full((2,), 5),
        tolerance=0,
        objective=SENSITIVITY,
    )
    torch.testing.assert_close(products.errors(found.factors), start.errors, rtol=1e-8, atol=0)


@pytest.mark.shared
def test_a_real_kernel_is_stabilised(real_kernel):
    loose = proxy.decompose(real_kernel, "cp3", 64, solver="als", max_sweeps=300, tolerance=0)
    stable = proxy.decompose(real_kernel, "cp3", 64, solver="epc", max_sweeps=300, tolerance=0)
    assert stable.relative_error <= loose.relative_error * 1.01
    assert stable.sensitivity < loose.sensitivity / 3
    assert stable.rank_one_energy < 10 < loose.rank_one_energy


@pytest.mark.shared
def test_more_slack_buys_more_stability(real_kernel):
    found = [proxy.decompose(real_kernel, "cp3", 64, max_error_slack=slack).sensitivity for slack in (0.0, 0.01, 0.02)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2]


@pytest.mark.parametrize("factor", [1e-6, 1e3, 1e6])
def test_a_bad_first_guess_does_not_end_the_correction(products, start, monkeypatch, factor):
    sound = values(corrected(products, start, 0.05, 10))
    guess = proxy.epc._first_guess
    monkeypatch.setattr(proxy.epc, "_first_guess", lambda square, value: factor * guess(square, value))
    found = corrected(products, start, 0.05, 10)
    assert bool((values(found) <= 1.1 * sound).all())
    assert bool((products.errors(found.factors) <= start.errors * 1.05 * (1 + 1e-9)).all())
