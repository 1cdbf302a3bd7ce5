import numpy as np
import pytest
import torch

import proxy
from tests.proxy.conftest import seeded


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_the_error_is_the_tail_of_the_singular_values(rank):
    weight = seeded(8, 12)
    values = np.linalg.svd(weight.numpy(), compute_uv=False)
    expected = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
    assert proxy.decompose(weight, "svd", rank).relative_error == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rank", [1, 5, 18])
def test_spatial_svd_is_the_best_separable_approximation(rank):
    weight = seeded(6, 7, 3, 5)
    values = np.linalg.svd(weight.permute(1, 2, 0, 3).reshape(21, 30).numpy(), compute_uv=False)
    found = proxy.decompose(weight, "spatial_svd", rank)
    expected = float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))
    assert found.relative_error == pytest.approx(expected, abs=1e-12)
    rest = found.reconstruct() - weight
    assert float(rest.norm() / weight.norm()) == pytest.approx(expected, abs=1e-12)


def test_both_sides_carry_the_same_energy():
    found = proxy.decompose(1e-6 * seeded(8, 12), "svd", 3)
    torch.testing.assert_close(found.tensors["out"].norm(), found.tensors["in"].norm())
