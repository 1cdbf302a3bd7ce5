import pytest
import torch

import proxy.cp_products
from proxy.cp_products import Products
from tests.proxy.conftest import seeded


@pytest.fixture(params=[1 << 20, 1], ids=["one block", "row by row"])
def products(request, monkeypatch):
    monkeypatch.setattr(proxy.cp_products, "_BLOCK_ENTRIES", request.param)
    return Products(seeded(2, 5, 4, 3), 6)


@pytest.fixture
def factors():
    return seeded(2, 5, 6, seed=1), seeded(2, 4, 6, seed=2), seeded(2, 3, 6, seed=3)


def test_the_right_hand_sides(products, factors):
    a, b, c = factors
    y = products.kernels
    torch.testing.assert_close(products.for_out(b, c), torch.einsum("ntsd,nsr,ndr->ntr", y, b, c))
    torch.testing.assert_close(products.for_inn(a, c), torch.einsum("ntsd,ntr,ndr->nsr", y, a, c))
    torch.testing.assert_close(products.for_space(a, b), torch.einsum("ntsd,ntr,nsr->ndr", y, a, b))


def test_the_last_two_in_one_pass(products, factors):
    a, _, c = factors
    y = products.kernels
    expected = 2 * torch.einsum("ntsd,ntr,ndr->nsr", y, a, c)
    inn, target = products.for_rest(a, c, lambda rows: 2 * rows)
    torch.testing.assert_close(inn, expected)
    torch.testing.assert_close(target, torch.einsum("ntsd,ntr,nsr->ndr", y, a, expected))


def test_what_is_left_over(products, factors):
    expected = products.kernels - torch.einsum("ntr,nsr,ndr->ntsd", *factors)
    torch.testing.assert_close(products.residual(factors), expected)
    torch.testing.assert_close(products.errors(factors), expected.flatten(1).norm(dim=1))
