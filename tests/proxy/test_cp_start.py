import pytest
import torch

from proxy.cp_start import slice_terms, started
from tests.proxy.conftest import seeded


def unit(*shape, seed=0):
    kernels = seeded(*shape, seed=seed)
    return kernels / kernels.flatten(1).norm(dim=1)[:, None, None, None]


def full(factors):
    return torch.einsum("ntr,nsr,ndr->ntsd", *factors)


def test_the_start_of_full_rank_is_exact():
    kernels = unit(2, 6, 5, 9)
    start = started(slice_terms(kernels, 45), [45, 45], 0)
    torch.testing.assert_close(full(start), kernels)


def test_the_terms_are_orthogonal_and_the_strongest_first():
    term = slice_terms(unit(1, 6, 5, 9), 45)[0]
    gram = (term.out.mT @ term.out) * (term.inn.mT @ term.inn) * (term.space.mT @ term.space)
    torch.testing.assert_close(gram, torch.eye(45, dtype=torch.float64))
    assert term.strengths.tolist() == sorted(term.strengths.tolist(), reverse=True)
    assert float(term.strengths.square().sum()) == pytest.approx(1)


def test_a_lower_rank_is_the_beginning_of_a_higher_one():
    kernels = unit(1, 6, 5, 9)
    high, low = slice_terms(kernels, 30)[0], slice_terms(kernels, 7)[0]
    assert torch.equal(high.out[:, :7], low.out)


def test_a_kernel_starts_alike_in_any_company():
    kernels = unit(2, 6, 5, 9)
    terms = slice_terms(kernels, 20)
    both, alone = started(terms, [8, 20], 3), started(terms[:1], [8], 3)
    for mine, own in zip(both, alone, strict=True):
        assert torch.equal(mine[0, :, :8], own[0])
        assert not bool(mine[0, :, 8:].any())


def test_another_seed_is_another_start():
    terms = slice_terms(unit(1, 6, 5, 9), 8)
    assert not torch.equal(started(terms, [8], 0)[0], started(terms, [8], 1)[0])
