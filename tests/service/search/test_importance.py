"""Which layers matter, against networks of which that is known, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from service.search.allocations import equal_error
from service.search.error_model import prior_weights
from service.search.importance import by_error_model, by_rank_correlation


def trials(space, limits, truth, count, seed=0):
    """Choices near equal error, and guides that are linear in squared errors."""
    rng = np.random.default_rng(seed)
    tops = [len(site.options) - 1 for site in space.sites]
    near = equal_error(space, limits) + rng.integers(-2, 3, (count, len(space)))
    positions = np.clip(near, 0, tops)
    return positions, 0.02 + (space.errors[space.rows, positions] ** 2) @ truth / 20


@pytest.fixture
def limits(wide):
    return {"macs": wide.dense.macs // 3}


def test_what_is_true_of_the_network_is_found(wide, limits):
    truth = np.random.default_rng(1).uniform(0.2, 3, len(wide))
    positions, guides = trials(wide, limits, truth, 300)
    found = by_error_model(wide, limits, positions, guides, int(np.argmin(guides)))
    assert np.corrcoef(found.importance, truth)[0, 1] > 0.9
    assert np.abs(found.importance - truth / 20).max() < 4 * found.spread.max()


def test_the_spread_shrinks_as_trials_are_made(wide, limits):
    positions, guides = trials(wide, limits, np.ones(len(wide)), 200)
    few = by_error_model(wide, limits, positions[:10], guides[:10], int(np.argmin(guides[:10])))
    many = by_error_model(wide, limits, positions, guides, int(np.argmin(guides)))
    assert many.spread.mean() < 0.7 * few.spread.mean()


def test_the_posterior_is_that_of_bayesian_linear_regression(space):
    """Against conditioning the joint Gaussian of parameters and observations."""
    limits = {"macs": space.dense.macs // 2}
    positions, guides = trials(space, limits, np.array([1.0, 3.0, 0.5, 2.0]), 7)
    best = int(np.argmin(guides))
    found = by_error_model(space, limits, positions, guides, best)
    weights = prior_weights(space, equal_error(space, limits), limits)
    squares = space.errors[space.rows, positions] ** 2
    trust = 1 / (1 + 4 * (guides / guides[best] - 1) ** 2)
    scale = (trust * (squares @ weights)) @ guides / (trust @ (squares @ weights) ** 2)
    design = np.column_stack([np.ones(7), squares])
    covariance = np.diag(np.concatenate([[0.5 * guides[best]], 0.7 * scale * weights]) ** 2)
    noise = np.diag((0.02 * guides[best]) ** 2 / trust)
    gain = covariance @ design.T @ np.linalg.inv(design @ covariance @ design.T + noise)
    mean = np.concatenate([[0], scale * weights])
    expected = mean + gain @ (guides - design @ mean)
    np.testing.assert_allclose(found.importance, expected[1:], rtol=1e-5)
    np.testing.assert_allclose(found.spread, np.sqrt(np.diag(covariance - gain @ design @ covariance))[1:], rtol=1e-4)
    np.testing.assert_allclose(found.prior, scale * weights, rtol=1e-9)
    np.testing.assert_allclose(found.loss, found.importance * squares[best], rtol=1e-9)


def test_the_rank_correlation_is_spearmans(wide, limits):
    positions, guides = trials(wide, limits, np.random.default_rng(2).uniform(0, 3, len(wide)), 40)
    found = by_rank_correlation(wide, positions, guides)
    errors = wide.errors[wide.rows, positions]
    expected = [stats.spearmanr(errors[:, at], guides).statistic for at in range(len(wide))]
    np.testing.assert_allclose(found.importance, expected, atol=1e-12)
    assert ((found.spread > 0) & (found.spread < 0.25)).all()


def test_a_layer_that_never_changes_has_no_correlation(wide, limits):
    positions, guides = trials(wide, limits, np.ones(len(wide)), 20)
    positions[:, 3] = 2
    found = by_rank_correlation(wide, positions, guides)
    assert found.importance[3] == 0
    assert np.isfinite(found.importance).all()


def test_of_three_trials_the_correlation_has_no_spread(space):
    positions, guides = trials(space, {"macs": space.dense.macs // 2}, np.ones(len(space)), 3)
    assert np.isnan(by_rank_correlation(space, positions, guides).spread).all()
