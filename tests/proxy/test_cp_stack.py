import torch

from proxy.cp_stack import padding, regularized, solved_rows
from tests.proxy.conftest import seeded


def test_columns_beyond_the_rank():
    like = torch.zeros(2, 5, 4)
    assert padding(torch.tensor([4, 2]), like).tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


def test_a_positive_definite_problem_is_solved():
    root, target = seeded(2, 4, 4), seeded(2, 7, 4, seed=1)
    gamma = root @ root.mT
    ridge = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lower = regularized(gamma.clone, ridge, torch.full((2, 1), 1e-15, dtype=torch.float64))
    expected = torch.linalg.solve(gamma + torch.diag_embed(ridge), target, left=False)
    torch.testing.assert_close(solved_rows(target, lower), expected)


def test_only_the_singular_one_is_raised():
    sound = torch.eye(3, dtype=torch.float64)
    broken = torch.diag(torch.tensor([1.0, 1.0, -1e-6], dtype=torch.float64))
    both = torch.stack([sound, broken])
    lower = regularized(both.clone, torch.zeros(2, 3).double(), torch.full((2, 1), 1e-12).double())
    assert bool(torch.isfinite(lower).all())
    torch.testing.assert_close(lower[0] @ lower[0].mT, sound, rtol=1e-9, atol=1e-9)
    assert float((lower[1] @ lower[1].mT)[2, 2]) < 1e-3
