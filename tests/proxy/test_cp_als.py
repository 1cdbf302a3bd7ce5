import pytest
import torch

from proxy.cp_als import Damping, als
from proxy.cp_products import Products
from proxy.cp_start import slice_terms, started
from proxy.stability import OBJECTIVES, instability
from tests.proxy.conftest import seeded

PLAIN = Damping(OBJECTIVES["sensitivity"], 0.0)
DAMPED = Damping(OBJECTIVES["sensitivity"])


@pytest.fixture
def kernels():
    stack = torch.stack([seeded(8, 7, 9, seed=seed) for seed in range(3)])
    return stack / stack.flatten(1).norm(dim=1)[:, None, None, None]


def run(kernels, ranks, sweeps, damping=PLAIN, tolerance=0.0):
    start = started(slice_terms(kernels, max(ranks)), ranks, 0)
    limits = torch.full((len(ranks),), sweeps)
    products = Products(kernels, max(ranks))
    return products, als(products, start, torch.tensor(ranks), max_sweeps=limits, tolerance=tolerance, damping=damping)


def test_the_errors_told_are_the_errors(kernels):
    products, found = run(kernels, [12, 12, 12], 25)
    torch.testing.assert_close(found.errors, products.errors(found.factors), rtol=1e-8, atol=0)


def test_more_sweeps_are_never_worse(kernels):
    errors = torch.stack([run(kernels, [12, 12, 12], sweeps)[1].errors for sweeps in range(1, 40)])
    assert bool((errors.diff(dim=0) <= 0).all())


@pytest.mark.parametrize("damping", [PLAIN, DAMPED], ids=["plain", "damped"])
def test_a_sweep_without_extrapolation_solves_its_problems(kernels, damping):
    """The first sweep starts at the start: its C is the least-squares partner of its A and B."""
    products, found = run(kernels, [5, 5, 5], 1, damping)
    a, b, c = found.factors
    for at in range(3):
        design = torch.einsum("tr,sr->tsr", a[at], b[at]).flatten(0, 1)
        best = torch.linalg.lstsq(design, kernels[at].flatten(0, 1)).solution.mT
        torch.testing.assert_close(c[at], best, rtol=1e-6, atol=1e-9)
    assert products.lengths == (8, 7, 9)


def test_the_company_does_not_matter(kernels):
    _, together = run(kernels, [12, 9, 5], 30, DAMPED, tolerance=1e-3)
    for at, rank in enumerate([12, 9, 5]):
        _, alone = run(kernels[at : at + 1], [rank], 30, DAMPED, tolerance=1e-3)
        assert alone.sweeps.tolist() == [together.sweeps[at]]
        for mine, own in zip(together.factors, alone.factors, strict=True):
            torch.testing.assert_close(mine[at, :, :rank], own[0], rtol=1e-6, atol=1e-9)
            assert not bool(mine[at, :, rank:].any())


def test_each_kernel_ends_when_it_gains_no_more(kernels):
    _, found = run(kernels, [12, 12, 12], 200, DAMPED, tolerance=5e-3)
    assert bool(found.converged.all())
    assert len(set(found.sweeps.tolist())) > 1
    _, cut = run(kernels, [12, 12, 12], 7, DAMPED, tolerance=1e-9)
    assert cut.sweeps.tolist() == [7, 7, 7]
    assert not bool(cut.converged.any())


def test_damping_buys_stability(kernels):
    _, plain = run(kernels, [30, 30, 30], 150)
    _, damped = run(kernels, [30, 30, 30], 150, DAMPED)
    for at in range(3):
        loose, stable = (instability(*(f[at] for f in x.factors))["sensitivity"] for x in (plain, damped))
        assert stable < loose
    assert float((damped.errors / plain.errors).max()) < 1.1


def test_the_zero_tensor_is_no_way_out():
    """log e² + η log ss alone has its least value at no component at all; small ranks must not fall for it."""
    kernel = seeded(16, 16, 9)[None]
    _, damped = run(kernel / kernel.norm(), [1], 60, DAMPED)
    _, plain = run(kernel / kernel.norm(), [1], 60)
    assert float(damped.errors) == pytest.approx(float(plain.errors), rel=1e-3)


def test_a_sweep_that_leaves_the_numbers_is_recovered_from(kernels):
    class Broken(Products):
        calls = 0

        def for_out(self, inn, space):
            Broken.calls += 1
            target = super().for_out(inn, space)
            if Broken.calls == 6:
                target[1] = torch.nan
            return target

    start = started(slice_terms(kernels, 12), [12] * 3, 0)
    limits = torch.full((3,), 30)
    found = als(Broken(kernels, 12), start, torch.tensor([12] * 3), max_sweeps=limits, tolerance=0, damping=DAMPED)
    _, sound = run(kernels, [12] * 3, 30, DAMPED)
    assert bool((found.errors <= sound.errors * 1.05).all())
    torch.testing.assert_close(found.errors[0], sound.errors[0])
