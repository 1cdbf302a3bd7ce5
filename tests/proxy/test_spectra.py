import numpy as np
import pytest
import torch

import proxy
from proxy.errors import UnsupportedMethod
from proxy.kernel import Kernel
from proxy.spectra import spectra
from tests.proxy.conftest import seeded

WEIGHT = seeded(6, 5, 3, 2)
MATRICES = {
    "spatial_svd": [WEIGHT.permute(1, 2, 0, 3).reshape(15, 12)],
    "tucker2": [WEIGHT.reshape(6, 30), WEIGHT.transpose(0, 1).reshape(5, 36)],
}


@pytest.mark.parametrize("method", MATRICES)
def test_the_spectra_are_the_singular_values(method):
    for spectrum, matrix in zip(spectra(Kernel(WEIGHT), method), MATRICES[method], strict=True):
        expected = np.linalg.svd(matrix.numpy() / float(WEIGHT.norm()), compute_uv=False)
        np.testing.assert_allclose(spectrum.values.numpy(), expected, atol=1e-7)
        assert spectrum.columns == max(matrix.shape)


@pytest.mark.parametrize("energy", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("method", MATRICES)
def test_the_least_ranks_that_keep_the_energy(method, energy):
    ranks = proxy.energy_ranks(WEIGHT, method, energy=energy)
    for rank, matrix in zip(ranks.get("ranks", ranks).values(), MATRICES[method], strict=True):
        squares = np.linalg.svd(matrix.numpy(), compute_uv=False) ** 2
        assert squares[:rank].sum() >= energy * squares.sum() > squares[: rank - 1].sum()


def test_the_error_stays_below_what_the_energy_promises():
    weight, energy = seeded(12, 10, 3, 3), 0.8
    for method, limit in (("spatial_svd", 0.2**0.5), ("tucker2", 0.4**0.5)):
        ranks = proxy.energy_ranks(weight, method, energy=energy)
        assert proxy.decompose(weight, method, ranks).relative_error <= limit


def test_all_of_the_energy_needs_the_rank_of_the_matrix():
    assert proxy.energy_ranks(seeded(9, 3) @ seeded(3, 8), "svd", energy=1.0) == {"rank": 3}


def test_zero_weights_need_rank_one():
    assert proxy.energy_ranks(torch.zeros(4, 5, 3, 3), "tucker2") == {"ranks": {"out": 1, "in": 1}}


@pytest.mark.parametrize("energy", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(energy):
    with pytest.raises(UnsupportedMethod, match="share"):
        proxy.energy_ranks(WEIGHT, "tucker2", energy=energy)


def test_cp_has_no_spectrum():
    with pytest.raises(UnsupportedMethod, match="not those of a matrix"):
        proxy.energy_ranks(WEIGHT, "cp3")


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_share_ranks_and_energy(transposed):
    layout = proxy.Layout(2, transposed)
    kernels = torch.stack([seeded(9, 2) @ seeded(2, 8), 1e-3 * seeded(9, 8, seed=5)])
    options = {"groups": 2, "transposed": transposed}
    assert proxy.energy_ranks(layout.weight(kernels), "svd", energy=0.9999, **options) == {"rank": 2}
    assert proxy.energy_ranks(layout.weight(kernels), "svd", energy=1.0, **options) == {"rank": 8}
