from dataclasses import replace

import pytest
import torch

from proxy.cp3 import CPOptions, cp3
from proxy.kernel import Kernel
from proxy.low_rank_cp import LowRankCP, corrected, fit, full_ranks
from proxy.stability import instability, objective_named
from tests.proxy.conftest import seeded

SIZE, RANK = (9, 8, 7), 12
SENSITIVITY = objective_named("sensitivity")


@pytest.fixture
def kernel():
    return Kernel(seeded(*SIZE))


@pytest.fixture
def start(kernel):
    return LowRankCP.of(plain(kernel, RANK, 30))


def plain(kernel, rank, sweeps):
    """A CP decomposition by ALS alone."""
    return cp3([(kernel, rank)], CPOptions(stabilise=False, max_sweeps=sweeps, tolerance=0.0))[0]


def full(found):
    return torch.einsum("ir,jr,kr->ijk", found.cp.out, found.cp.inn, found.cp.space)


def error(kernel, found):
    return float((full(found) - kernel.tensor).norm())


def low_rank_tensor(sizes, ranks, rank, seed=0):
    """An exact CP tensor of the given rank whose factor matrices have these ranks, all singular values one."""
    factors = [
        torch.linalg.qr(seeded(length, r, seed=seed + 2 * n))[0]
        @ torch.linalg.qr(seeded(rank, r, seed=seed + 2 * n + 1))[0].mT
        for n, (length, r) in enumerate(zip(sizes, ranks, strict=True))
    ]
    return torch.einsum("ir,jr,kr->ijk", *factors)


def test_a_plain_cp_is_carried_over_unchanged(kernel):
    before = plain(kernel, RANK, 5)
    carried = LowRankCP.of(before)
    assert carried.ranks == full_ranks(SIZE, RANK)
    torch.testing.assert_close(full(carried), torch.einsum("ir,jr,kr->ijk", before.out, before.inn, before.space))


@pytest.mark.parametrize("ranks", [(9, 8, 7), (4, 3, 5), (1, 1, 1), (2, 8, 3)])
def test_the_error_told_is_the_error(kernel, start, ranks):
    found = fit(kernel, start, ranks, max_sweeps=7, tolerance=0)
    assert found.ranks == ranks
    assert found.error == pytest.approx(error(kernel, found), rel=1e-9)


def test_the_bases_are_orthonormal(kernel, start):
    for basis in fit(kernel, start, (4, 3, 5), max_sweeps=7, tolerance=0).bases:
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1], dtype=basis.dtype))


def test_more_sweeps_are_never_worse(kernel, start):
    errors = [fit(kernel, start, (4, 3, 5), max_sweeps=n, tolerance=0).error for n in range(1, 25)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_the_last_update_is_the_best_of_its_rank(kernel, start):
    """Against gradient descent on a factorised third factor, from many starts: none finds a lower error."""
    found = fit(kernel, start, (4, 3, 2), max_sweeps=3, tolerance=0)
    one, two = found.cp.out, found.cp.inn
    design = torch.einsum("ir,jr->ijr", one, two).reshape(-1, RANK)
    target = kernel.tensor.reshape(-1, SIZE[2])
    for seed in range(5):
        left, right = (
            seeded(SIZE[2], 2, seed=seed).requires_grad_(),
            seeded(2, RANK, seed=seed + 9).requires_grad_(),
        )
        optimiser = torch.optim.LBFGS([left, right], max_iter=300, line_search_fn="strong_wolfe")

        def loss(left=left, right=right, optimiser=optimiser):
            optimiser.zero_grad()
            value = (target - design @ (left @ right).mT).square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        assert float(loss().detach()) >= found.error**2 * (1 - 1e-9)


def test_exact_tensors_are_found():
    kernel = Kernel(low_rank_tensor((12, 10, 9), (4, 4, 4), 5))
    start = plain(kernel, 5, 200)
    assert fit(kernel, LowRankCP.of(start), (4, 4, 4), max_sweeps=500, tolerance=0).error < 1e-5


def test_a_singular_gamma_is_no_obstacle(kernel):
    """Every component twice: Γ has half its rank, and the result must be that of the half."""
    half = plain(kernel, 5, 10)
    doubled = LowRankCP.of(
        replace(half, **{name: torch.cat([getattr(half, name)] * 2, 1) for name in ("out", "inn", "space")})
    )
    once = fit(kernel, LowRankCP.of(half), (3, 3, 3), max_sweeps=4, tolerance=0)
    twice = fit(kernel, doubled, (3, 3, 3), max_sweeps=4, tolerance=0)
    assert twice.error == pytest.approx(once.error, rel=1e-6)
    assert twice.error == pytest.approx(error(kernel, twice), rel=1e-9)
    assert all(bool(torch.isfinite(weight).all()) for weight in twice.weights)


def test_a_rank_above_need_gives_finite_factors():
    kernel = Kernel(low_rank_tensor((6, 6, 6), (2, 2, 2), 2))
    start = LowRankCP.of(plain(kernel, 9, 20))
    found = fit(kernel, start, (6, 6, 6), max_sweeps=20, tolerance=0)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (*found.bases, *found.weights))
    assert error(kernel, found) < 1e-5


def test_float32_tensors():
    kernel = Kernel(seeded(140, 130, 9, dtype=torch.float32))
    assert kernel.tensor.dtype == torch.float32
    start = LowRankCP.of(plain(kernel, 20, 5))
    found = fit(kernel, start, (10, 9, 9), max_sweeps=5, tolerance=0)
    assert found.error == pytest.approx(error(kernel, found), rel=1e-5)


def test_energies_are_what_the_error_rises_by(kernel, start):
    found = fit(kernel, start, (4, 3, 5), max_sweeps=30, tolerance=0)
    cut = found.bases[2][:, :-1] @ found.weights[2][:-1]
    one, two = found.cp.out, found.cp.inn
    square = float((torch.einsum("ir,jr,kr->ijk", one, two, cut) - kernel.tensor).square().sum())
    assert square - found.error**2 == pytest.approx(float(found.energies[2][-1]), rel=1e-6)


@pytest.mark.parametrize("slack", [0.0, 0.02])
def test_correction_keeps_the_bound_and_the_bases_and_lowers_the_sensitivity(kernel, start, slack):
    found = fit(kernel, start, (4, 3, 5), max_sweeps=30, tolerance=0)
    bound = found.error * (1 + slack)
    stable = corrected(kernel, found, bound=bound, max_sweeps=20, tolerance=0, objective=SENSITIVITY)
    assert stable.error == pytest.approx(error(kernel, stable), rel=1e-9)
    assert stable.error <= bound * (1 + 1e-6)
    assert all(torch.equal(a, b) for a, b in zip(stable.bases, found.bases, strict=True))
    assert instability(*stable.weights)["sensitivity"] < instability(*found.weights)["sensitivity"]


def test_the_correction_spends_the_budget_that_the_bases_leave(kernel, start):
    """δ_core² = δ² − ε²: the core's error grows into exactly what the Tucker part leaves of δ."""
    found = fit(kernel, start, (4, 3, 5), max_sweeps=30, tolerance=0)
    bound = found.error * 1.05
    stable = corrected(kernel, found, bound=bound, max_sweeps=30, tolerance=0, objective=SENSITIVITY)
    core = torch.einsum("ijk,ia,jb,kc->abc", kernel.tensor, *stable.bases)
    outside = 1 - float(core.square().sum())
    inside = float((core - torch.einsum("ar,br,cr->abc", *stable.weights)).square().sum())
    assert outside + inside == pytest.approx(error(kernel, stable) ** 2, rel=1e-9)
    assert inside == pytest.approx(bound**2 - outside, rel=1e-3)
