"""What measurements mean, on plain values."""

from __future__ import annotations

import pytest

from ranksearch.contracts.studies import TrialResult
from ranksearch.contracts.study_requests import StudyRequest
from service.scheduling.verdicts import Goal, guide_of_pruned
from tests.service import synthetic


def goal(metric="accuracy", latency_limit=None, dense_value=None, **request):
    images = {"calibration": {"dataset": "d"}, "validation": {"dataset": "d"}}
    whole = {"model": "m", **images, "constraints": {"macs": "50%"}, **request}
    return Goal(StudyRequest.model_validate(whole), metric, latency_limit, dense_value)


def result(value, **members):
    return TrialResult.model_validate(synthetic.result(value) | members)


def timed(ms, dense_ms=None):
    return result(0.5, latency=synthetic.latency(ms, dense_ms))


@pytest.mark.parametrize(("metric", "better", "worse"), [("accuracy", 0.9, 0.8), ("kl", 0.1, 0.2), ("loss", 1.0, 2.0)])
def test_the_better_proxy_comes_first(metric, better, worse):
    judged = goal(metric)
    assert judged.order(result(better), 5) < judged.order(result(worse), 1)


def test_of_equal_trials_the_earlier_comes_first():
    assert goal().order(result(0.5), 1) < goal().order(result(0.5), 2)


def test_the_proxy_comes_before_costs_whatever_the_order_of_the_objectives():
    judged = goal(objectives=["macs", "proxy"])
    dear, cheap = ({"cost": {"macs": macs, "params": 1}} for macs in (900, 100))
    assert judged.order(result(0.9, **dear), 1) < judged.order(result(0.8, **cheap), 2)
    assert judged.order(result(0.9, **cheap), 2) < judged.order(result(0.9, **dear), 1)


def test_values_are_in_the_order_of_the_objectives():
    judged = goal(objectives=["params", "proxy", "macs"])
    assert list(judged.values(result(0.5)).items()) == [("params", 300), ("proxy", 0.5), ("macs", 30_000)]
    assert judged.directions == ["minimize", "maximize", "minimize"]


@pytest.mark.parametrize(
    ("metric", "value", "dense", "drop"), [("accuracy", 0.7, 0.9, 0.2), ("loss", 1.5, 1.0, 0.5), ("kl", 0.3, 0.0, 0.3)]
)
def test_a_drop_is_a_loss_whichever_way_the_metric_goes(metric, value, dense, drop):
    assert goal(metric).drop(result(value, dense_value=dense)) == pytest.approx(drop)


@pytest.mark.parametrize("metric", ["kl", "features", "outputs"])
def test_the_dense_network_is_no_distance_from_itself(metric):
    assert goal(metric, dense_value=0.4).drop(result(0.3)) == 0.3


def test_a_drop_that_cannot_be_told_is_none():
    assert goal().drop(result(0.7)) is None


def test_what_a_measurement_lacks_is_told():
    smallest = goal(objectives=["macs"], max_drop=0.1)
    assert "dense network" in smallest.lacks(result(0.5))
    assert smallest.lacks(result(0.5, dense_value=0.6)) is None
    assert "latency" in goal(constraints={"latency_ms": 3.0}).lacks(result(0.5))


@pytest.mark.parametrize(("bound", "ms", "kept"), [(4.0, 4.0, True), (4.0, 4.01, False), ("40%", 4.0, True)])
def test_a_latency_is_kept_up_to_its_bound(bound, ms, kept):
    assert goal(constraints={"latency_ms": bound}, latency_limit=4.0).feasible(timed(ms)) is kept


def test_a_percentage_is_of_the_latency_measured_beside_it():
    judged = goal(constraints={"latency_ms": "40%"}, latency_limit=4.0)
    assert [judged.feasible(timed(4.5, dense)) for dense in (10.0, 12.0)] == [False, True]


def test_the_farther_from_the_bounds_the_larger_the_distance():
    judged = goal(objectives=["macs"], max_drop=0.01)
    distances = [judged.distance(result(value, dense_value=0.9)) for value in (0.895, 0.88, 0.85)]
    assert distances == [0.0, pytest.approx(1.0), pytest.approx(4.0)]


def test_bounds_are_told_in_words():
    (bound,) = goal(objectives=["macs"], max_drop=0.01).bounds(result(0.88, dense_value=0.9))
    assert str(bound) == "drop 0.02 of accuracy (at most 0.01)"


def test_a_target_is_attained_at_once_and_beyond():
    assert [goal().attains(result(value), 0.5) for value in (0.4, 0.5, 0.6)] == [False, True, True]
    assert [goal("kl").attains(result(value), 0.5) for value in (0.4, 0.5, 0.6)] == [True, True, False]


def test_the_guide_of_a_pruned_trial_does_not_depend_on_how_hard_its_batches_are():
    easy, hard = [0.1, 0.9], [0.9, 0.1]
    assert guide_of_pruned([0.3], easy, 0.5) == pytest.approx(guide_of_pruned([1.1], hard, 0.5)) == pytest.approx(0.7)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_there_is_no_guide_by_comparison_without_something_to_compare(missing):
    given = [[0.3], [0.1, 0.2], 0.5]
    given[missing] = None
    assert guide_of_pruned(*given) is None
