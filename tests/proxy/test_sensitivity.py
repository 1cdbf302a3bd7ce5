import torch

from proxy.sensitivity import balance, rank_one_energy, sensitivity
from tests.proxy.conftest import seeded


def factors():
    return seeded(5, 3, seed=1), 3 * seeded(4, 3, seed=2), seeded(9, 3, seed=3) / 7


def full(a, b, c):
    return torch.einsum("tr,sr,dr->tsd", a, b, c)


def test_it_is_the_expected_change_under_noise():
    a, b, c = factors()
    noise, draws, total = 1e-4, 4000, 0.0
    generator = torch.Generator().manual_seed(5)
    for _ in range(draws):
        moved = [x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (a, b, c)]
        total += float((full(*moved) - full(a, b, c)).square().sum())
    assert abs(total / draws / noise**2 / float(sensitivity(a, b, c)) - 1) < 0.05


def test_balancing_leaves_the_tensor():
    torch.testing.assert_close(full(*balance(*factors())), full(*factors()))


def test_no_other_sharing_of_the_norms_is_less_sensitive():
    best = balance(*factors())
    least = float(sensitivity(*best))
    for seed in range(50):
        p, q = (0.3 * seeded(2, 3, seed=seed)).exp()
        assert float(sensitivity(best[0] * p, best[1] * q, best[2] / (p * q))) >= least * (1 - 1e-12)


def test_a_zero_component_stays_zero_and_finite():
    a, b, c = factors()
    a[:, 1] = 0
    assert all(bool(torch.isfinite(x).all()) and bool((x[:, 1] == 0).all()) for x in balance(a, b, c))


def test_rank_one_energy_of_orthogonal_terms_is_the_energy_of_the_tensor():
    a, b, c = torch.eye(4, 3).double(), torch.eye(5, 3).double(), seeded(6, 3)
    torch.testing.assert_close(rank_one_energy(a, b, c), full(a, b, c).square().sum())
