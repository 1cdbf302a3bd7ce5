import pytest
import torch

from proxy.errors import UnsupportedMethod
from proxy.stability import OBJECTIVES, balanced, energies, instability, objective_named
from tests.proxy.conftest import seeded


def factors():
    return seeded(5, 3, seed=1), 3 * seeded(4, 3, seed=2), seeded(9, 3, seed=3) / 7


def full(a, b, c):
    return torch.einsum("tr,sr,dr->tsd", a, b, c)


def sensitivity(a, b, c):
    """By the definition, Phan et al. 2020, eq. (7)."""
    x, y, z = ((f * f).sum(0) for f in (a, b, c))
    return (len(c) * x * y + len(a) * y * z + len(b) * x * z).sum()


def balance(a, b, c):
    scales, _ = balanced((a[None], b[None], c[None]))
    return tuple(f * s[0] for f, s in zip((a, b, c), scales, strict=True))


def test_it_is_the_expected_change_under_noise():
    a, b, c = balance(*factors())
    noise, draws, total = 1e-4, 4000, 0.0
    generator = torch.Generator().manual_seed(5)
    for _ in range(draws):
        moved = [x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (a, b, c)]
        total += float((full(*moved) - full(a, b, c)).square().sum())
    assert abs(total / draws / noise**2 / instability(*factors())["sensitivity"] - 1) < 0.05


def test_the_value_of_balanced_factors_is_the_definition():
    assert instability(*factors())["sensitivity"] == pytest.approx(float(sensitivity(*balance(*factors()))))


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
    assert instability(a, b, c)["energy"] == pytest.approx(float(full(a, b, c).square().sum()))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_the_weights_are_those_of_the_quadratic_in_one_factor(name):
    """The objective of (A, B, C) with A's columns scaled differs by Σ w² Δ‖a‖²."""
    definition = {
        "sensitivity": sensitivity,
        "energy": lambda a, b, c: ((a * a).sum(0) * (b * b).sum(0) * (c * c).sum(0)).sum(),
    }[name]
    a, b, c = factors()
    weights = OBJECTIVES[name].weights(energies(b[None]), energies(c[None]), (len(b), len(c)))[0]
    other = seeded(5, 3, seed=9)
    changed = float(definition(other, b, c) - definition(a, b, c))
    assert changed == pytest.approx(float((weights * ((other**2).sum(0) - (a**2).sum(0))).sum()))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_at_the_damping_limit_the_average_components_weight_is_its_gamma(name):
    a, b, c = balance(*(torch.ones(length, 3, dtype=torch.float64) * 0.1 for length in (5, 4, 9)))
    objective = OBJECTIVES[name]
    value = torch.tensor([instability(a, b, c)[name]])
    limit = float(objective.damping_limit(value, (5, 4, 9), torch.tensor([3])))
    weights = objective.weights(energies(b[None]), energies(c[None]), (4, 9))[0]
    gamma = ((b.mT @ b) * (c.mT @ c)).diagonal()
    torch.testing.assert_close(limit * weights, gamma)


def test_there_is_no_other_objective():
    with pytest.raises(UnsupportedMethod, match="energy"):
        objective_named("beauty")
