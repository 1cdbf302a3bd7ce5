from __future__ import annotations

import numpy as np
import pytest

from service.search.allocations import equal_error
from service.search.error_model import posterior, prior_weights, propose, uninformed
from service.search.knapsack import least_error
from service.search.plan import Past


@pytest.fixture
def limits(wide):
    return {"macs": wide.dense.macs // 3}


def trials(space, limits, guide, count=60, seed=0):
    """Random choices near equal error and what the guide says of them."""
    rng = np.random.default_rng(seed)
    equal = equal_error(space, limits)
    past = []
    for number in range(count):
        at = np.clip(equal + rng.integers(-2, 3, len(space)), 0, [len(site.options) - 1 for site in space.sites])
        past.append(Past(number, "sampler", tuple(at.tolist()), guide(at), guide(at)))
    return past


def test_before_any_trial_the_best_choice_is_near_equal_error(wide, limits):
    equal = equal_error(wide, limits)
    weights = prior_weights(wide, equal, limits)
    found = least_error(wide, weights[:, None] * wide.errors**2, limits, wide.exists)
    assert np.abs(found - equal).max() <= 1


def test_the_weights_are_relative(wide, limits):
    assert prior_weights(wide, equal_error(wide, limits), limits).mean() == pytest.approx(1)


def test_the_posterior_predicts_guides_that_are_linear_in_squared_errors(wide, limits):
    truth = np.random.default_rng(1).uniform(0.2, 3, len(wide))

    def guide(at):
        return float(0.02 + truth @ wide.error(at) ** 2 / 20)

    past = trials(wide, limits, guide, 80)
    best = min(past, key=lambda t: t.guide)
    model = posterior(wide, prior_weights(wide, equal_error(wide, limits), limits), past, best)
    new = trials(wide, limits, guide, 30, seed=9)
    predicted = [model.predict(wide, np.array(t.positions)) for t in new]
    assert np.corrcoef(predicted, [t.guide for t in new])[0, 1] > 0.98


def test_the_posterior_is_that_of_bayesian_linear_regression(space):
    """Against the posterior by conditioning the joint Gaussian of parameters and observations."""
    limits = {"macs": space.dense.macs // 2}
    weights = prior_weights(space, equal_error(space, limits), limits)
    past = trials(space, limits, lambda at: float(0.1 + (space.error(at) ** 2).sum()), 6)
    best = min(past, key=lambda t: t.guide)
    model = posterior(space, weights, past, best)
    squares = np.array([space.error(np.array(t.positions)) ** 2 for t in past])
    guides = np.array([t.guide for t in past])
    trust = 1 / (1 + 4 * (guides / best.guide - 1) ** 2)
    scale = (trust * (squares @ weights)) @ guides / (trust @ (squares @ weights) ** 2)
    design = np.column_stack([np.ones(6), squares])
    mean = np.concatenate([[0], scale * weights])
    covariance = np.diag(np.concatenate([[0.5 * best.guide], 0.7 * scale * weights]) ** 2)
    noise = np.diag((0.02 * best.guide) ** 2 / trust)
    gain = covariance @ design.T @ np.linalg.inv(design @ covariance @ design.T + noise)
    np.testing.assert_allclose(model.mean, mean + gain @ (guides - design @ mean), rtol=1e-5)
    np.testing.assert_allclose(model.root @ model.root.T, covariance - gain @ design @ covariance, rtol=1e-4, atol=1e-9)


def test_a_method_whose_errors_cost_more_is_seen_through(mixed):
    limits = {"macs": mixed.dense.macs // 2}

    def guide(at):
        by_method = np.array([1.0, 4.0, 1.0, 0.0])[mixed.methods[mixed.rows, at]]
        return float(by_method @ mixed.error(at) ** 2) / 9 + 0.01

    past = trials(mixed, limits, guide, 120)
    best = min(past, key=lambda t: t.guide)
    model = posterior(mixed, prior_weights(mixed, equal_error(mixed, limits), limits), past, best)
    differences = model.mean[1 + len(mixed) :]
    assert differences[0] > 0
    assert differences[0] > 2 * abs(differences[1])


def test_earlier_studies_count_less_than_the_present_one(space):
    limits = {"macs": space.dense.macs // 2}
    weights = prior_weights(space, equal_error(space, limits), limits)
    past = trials(space, limits, lambda at: float(0.1 + (space.error(at) ** 2).sum()), 6)
    best = min(past, key=lambda t: t.guide)
    alone, twice = posterior(space, weights, past, best), posterior(space, weights, past, best, past)
    thrice = posterior(space, weights, past * 2, best)
    width = [np.linalg.det(model.root) for model in (alone, twice, thrice)]
    assert width[0] > width[1] > width[2]


def test_proposals_are_new_and_within_the_limits(wide, limits):
    equal = equal_error(wide, limits)
    model = uninformed(wide, prior_weights(wide, equal, limits))
    tried = {tuple(equal.tolist())}
    for index in range(20):
        found = propose(wide, model, limits, equal, tried, np.random.default_rng(index), index)
        assert tuple(found.tolist()) not in tried
        assert wide.fits(found, limits)
        tried.add(tuple(found.tolist()))


def test_an_incumbent_that_costs_too_much_is_no_obstacle(wide, limits):
    dense = np.array([len(site.options) - 1 for site in wide.sites])
    model = uninformed(wide, np.ones(len(wide)))
    assert wide.fits(propose(wide, model, limits, dense, set(), np.random.default_rng(0), 1), limits)
