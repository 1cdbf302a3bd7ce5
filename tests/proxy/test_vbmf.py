import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

import proxy
from proxy.errors import UnsupportedMethod
from proxy.kernel import Kernel
from proxy.spectra import Spectrum, spectra
from proxy.vbmf import _threshold, vbmf_rank
from tests.proxy.conftest import seeded


def noisy(rows, columns, rank, noise, seed=0):
    signal = seeded(rows, rank, seed=seed) @ seeded(rank, columns, seed=seed + 1) / rank**0.5
    return signal + noise * seeded(rows, columns, seed=seed + 2)


def tau_of_threshold(alpha):
    return brentq(lambda t: np.log1p(t) / t + np.log1p(t / alpha) / (t / alpha) - 1, 1e-9, 10)


def by_free_energy(matrix):
    """The rank by the paper's free energy itself, every component's and the noise's minimised by SciPy.

    For one component with posterior mean γ̂, the empirical Bayes solution is its local minimum
    γ̂ = γ/2 (1 − (L+M)σ²/γ² + √((1 − (L+M)σ²/γ²)² − 4LMσ⁴/γ⁴)), kept where the free energy is below that of zero.
    """
    rows, columns = sorted(matrix.shape)
    gammas = np.linalg.svd(matrix, compute_uv=False)

    def gain(gamma, variance):
        """Free energy of the best non-zero solution less that of zero, times 2; infinite where there is none."""
        share = (rows + columns) * variance / gamma**2
        inside = (1 - share) ** 2 - 4 * rows * columns * variance**2 / gamma**4
        if inside < 0 or share > 1:
            return np.inf
        mean = gamma / 2 * (1 - share + np.sqrt(inside))
        both = gamma * mean / variance
        return columns * np.log(both / columns + 1) + rows * np.log(both / rows + 1) - both

    def energy(log_variance):
        variance = np.exp(log_variance)
        plain = rows * columns * log_variance + (gammas**2).sum() / variance
        return plain + sum(min(0.0, gain(gamma, variance)) for gamma in gammas)

    # The whole range down to where the L/(1+α)-th value would already be signal, which the paper rules out.
    noise = gammas[int(np.ceil(rows / (1 + rows / columns))) - 1 :]
    low, high = np.log((noise**2).mean() / columns), np.log((gammas**2).sum() / rows / columns)
    edges = np.linspace(low, high, 200)
    best = edges[np.argmin([energy(edge) for edge in edges])]
    width = edges[1] - edges[0]
    found = minimize_scalar(energy, bounds=(best - width, best + width), method="bounded", options={"xatol": 1e-9})
    return sum(gain(gamma, np.exp(found.x)) < 0 for gamma in gammas)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.4])
@pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(20, 20, 3), (20, 60, 5), (60, 20, 5), (64, 576, 12), (40, 50, 1)]
)
def test_the_rank_under_noise_is_recovered(rows, columns, rank, noise):
    assert proxy.vbmf_ranks(noisy(rows, columns, rank, noise), "svd") == {"rank": rank}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (10, 30), (25, 14)])
def test_where_noise_hides_signal_the_free_energy_decides(rows, columns, noise, seed):
    matrix = noisy(rows, columns, 6, noise, seed=10 * seed)
    (spectrum,) = spectra(Kernel(matrix), "svd")
    assert vbmf_rank(spectrum) == by_free_energy(matrix.numpy())


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.1, 0.01])
def test_the_threshold_is_the_papers(alpha):
    tau = tau_of_threshold(alpha)
    assert _threshold(alpha) == pytest.approx((1 + tau) * (1 + alpha / tau), rel=1e-9)
    assert tau == pytest.approx(2.5129 * alpha**0.5, rel=0.25)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_the_scale_does_not_matter(scale):
    matrix = noisy(20, 50, 4, 0.5)
    assert proxy.vbmf_ranks(matrix * scale, "svd") == proxy.vbmf_ranks(matrix, "svd")


def test_transposing_does_not_matter():
    matrix = noisy(20, 50, 6, 1.0)
    assert proxy.vbmf_ranks(matrix.mT, "svd") == proxy.vbmf_ranks(matrix, "svd")


def test_pure_noise_has_no_rank():
    (spectrum,) = spectra(Kernel(seeded(40, 60)), "svd")
    assert vbmf_rank(spectrum) == 0
    assert proxy.vbmf_ranks(seeded(40, 60), "svd") == {"rank": 1}


def test_a_matrix_without_noise_has_its_rank():
    assert proxy.vbmf_ranks(noisy(30, 40, 7, 0.0), "svd") == {"rank": 7}


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (1, 7)])
def test_zero_matrices_and_single_rows(shape):
    assert vbmf_rank(Spectrum(torch.zeros(min(shape), dtype=torch.float64), max(shape))) == 0
    assert proxy.vbmf_ranks(torch.zeros(shape), "svd") == {"rank": 1}
    assert proxy.vbmf_ranks(torch.ones(shape), "svd") == {"rank": 1}


def test_tucker2_has_a_rank_for_each_unfolding():
    core = torch.einsum("ta,abd,sb->tsd", seeded(24, 4), seeded(4, 6, 9, seed=1), seeded(20, 6, seed=2))
    weight = core + 0.05 * core.std() * seeded(24, 20, 9, seed=3)
    assert proxy.vbmf_ranks(weight.view(24, 20, 3, 3), "tucker2") == {"ranks": {"out": 4, "in": 6}}


def test_spatial_svd_has_the_rank_of_its_matrix():
    halves = torch.einsum("spr,tqr->tspq", seeded(16, 3, 5), seeded(20, 3, 5, seed=1))
    assert proxy.vbmf_ranks(halves + 0.1 * seeded(20, 16, 3, 3, seed=2), "spatial_svd") == {"rank": 5}


@pytest.mark.parametrize(("weakening", "rank"), [(1.0, 4), (0.9, 5), (0.75, 8), (0.5, 12), (0.0, 20)])
def test_weakening_moves_towards_the_full_rank(weakening, rank):
    assert proxy.vbmf_ranks(noisy(20, 50, 4, 0.1), "svd", weakening=weakening) == {"rank": rank}


def test_weakened_noise_keeps_its_rank():
    assert proxy.vbmf_ranks(seeded(40, 60), "svd", weakening=0.8) == {"rank": 40}


@pytest.mark.parametrize("weakening", [-0.1, 1.1])
def test_a_weakening_out_of_range_is_refused(weakening):
    with pytest.raises(UnsupportedMethod, match="weakening"):
        proxy.vbmf_ranks(seeded(4, 5), "svd", weakening=weakening)


@pytest.mark.parametrize("method", ["cp3", "tucker2_cp3", "spatial_svd"])
def test_methods_that_do_not_fit_are_refused(method):
    shape = (4, 5) if method == "spatial_svd" else (4, 5, 3, 3)
    with pytest.raises(UnsupportedMethod):
        proxy.vbmf_ranks(seeded(*shape), method)


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_have_the_largest_rank_of_any(transposed):
    stack = torch.stack([noisy(20, 50, 3, 0.1), noisy(20, 50, 5, 0.1, seed=7)])
    weight = proxy.Layout(2, transposed).weight(stack)
    assert proxy.vbmf_ranks(weight, "svd", groups=2, transposed=transposed) == {"rank": 5}
