"""The best trial and the front, as they are answered."""

from __future__ import annotations

import pytest

from ranksearch.contracts.studies import Best, Pareto
from tests.service import synthetic

FEW = {"search_images": {"calibration": 5, "validation": 10}}
MACS = [50_000, 40_000, 45_000, 30_000, 35_000]
VALUES = [0.9, 0.8, 0.7, 0.6, 0.5]
"""By trial: 2 is beaten by 1, and 4 by 3."""


def priced(job):
    return {"cost": {"macs": MACS[job["trial"]], "params": 300}}


@pytest.fixture
def fronted(service):
    changes = {"objectives": ["proxy", "macs"], "constraints": {}, "n_trials": 5}
    study = service.submit(**changes)["id"]
    service.agent(value=lambda job: VALUES[job["trial"]], measure=priced).work()
    return study


def pareto(service, study):
    return service.get(f"/v1/studies/{study}/pareto")


def test_the_front_has_what_no_other_trial_beats_by_the_first_objective(service, fronted):
    answered = pareto(service, fronted)
    assert [point["trial"] for point in answered["points"]] == [0, 1, 3]
    assert [list(point["values"].items()) for point in answered["points"]] == [
        [("proxy", 0.9), ("macs", 50_000)],
        [("proxy", 0.8), ("macs", 40_000)],
        [("proxy", 0.6), ("macs", 30_000)],
    ]


def test_the_front_is_what_the_contract_says(service, fronted):
    Pareto.model_validate(pareto(service, fronted))
    Best.model_validate(service.get(f"/v1/studies/{fronted}/best"))


def test_the_best_of_a_front_is_its_best_proxy(service, fronted):
    best = service.get(f"/v1/studies/{fronted}/best")
    assert (best["trial"], service.study(fronted)["best_trial"]) == (0, 0)


def test_optuna_finds_the_same_front(service, fronted):
    seen = service.optuna(fronted)
    assert sorted(trial.number for trial in seen.best_trials) == [0, 1, 3]


def test_a_cost_may_be_the_first_objective(service):
    study = service.submit(objectives=["macs", "proxy"], constraints={}, n_trials=5)["id"]
    service.agent(value=lambda job: VALUES[job["trial"]], measure=priced).work()
    assert [point["trial"] for point in pareto(service, study)["points"]] == [3, 1, 0]


def test_the_front_of_one_objective_is_the_best_trial(service):
    study = service.submit(n_trials=4)["id"]
    service.agent(value=lambda job: 0.9 if job["trial"] == 2 else 0.1).work()
    (point,) = pareto(service, study)["points"]
    assert (point["trial"], point["values"]) == (2, {"proxy": 0.9})


def test_the_front_is_empty_before_anything_is_measured(service):
    study = service.submit(objectives=["proxy", "macs"], constraints={})["id"]
    assert pareto(service, study)["points"] == []
    assert pareto(service, service.submit()["id"])["points"] == []


def test_there_is_no_front_of_an_unknown_study(service):
    answer = service.http.get("/v1/studies/sty_none/pareto")
    assert (answer.status_code, answer.json()["code"]) == (404, "study_not_found")


def test_what_was_measured_on_all_images_counts(service):
    study = service.submit(objectives=["proxy", "macs"], constraints={}, n_trials=5, finalists=5, **FEW)["id"]

    def value(job):
        on_all = job["task"]["validation"]["stop"] == 40
        return 0.55 if on_all and job["trial"] == 1 else VALUES[job["trial"]]

    service.agent(value=value, measure=priced).work()
    # On all images trial 1 is worse than the cheaper 3, and leaves 2, which is no better than it was, in its place.
    points = pareto(service, study)["points"]
    assert [(point["trial"], point["values"]["proxy"]) for point in points] == [(0, 0.9), (2, 0.7), (3, 0.6)]


def test_a_trial_that_is_too_slow_is_not_on_the_front(service):
    service.prepare(profile=synthetic.timed(synthetic.profile()))
    changes = {"objectives": ["proxy", "macs"], "constraints": {"latency_ms": 8.0}, "n_trials": 5, "finalists": 0}
    study = service.submit(**changes)["id"]

    def measure(job):
        return priced(job) | {"latency": synthetic.latency(9.0 if job["trial"] == 1 else 7.0, 10.0)}

    service.agent(value=lambda job: VALUES[job["trial"]], measure=measure).work()
    assert [point["trial"] for point in pareto(service, study)["points"]] == [0, 2, 3]


def test_a_study_tells_what_its_best_costs_and_how_accurate_it_is(service):
    study = service.submit(n_trials=2, metric="kl")["id"]
    agent = service.agent(value=lambda _job: 0.3, measure=lambda _job: {"accuracy": 0.87})
    agent.work()
    answered = service.study(study)
    assert (answered["best_value"], answered["best_accuracy"], answered["dense_accuracy"]) == (0.3, 0.87, 0.9)
    assert answered["best_cost"] == {"macs": 30_000, "params": 300}


def test_the_dense_value_beside_the_best_is_of_the_same_images(service):
    study = service.submit(n_trials=2)["id"]
    service.agent(measure=lambda _job: {"dense_value": 0.95}).work()
    best = service.get(f"/v1/studies/{study}/best")
    assert (best["dense_value"], best["dense_result"]["value"]) == (0.95, 0.9)
