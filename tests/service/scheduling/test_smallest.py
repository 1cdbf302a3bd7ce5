"""The least cost that loses at most so much, and bounds on a latency that is measured."""

from __future__ import annotations

from tests.service import synthetic

PROFILE = synthetic.profile()


def by_size(job):
    """Accuracy falls with what is left out of the macs: 0.02 for each half of the network."""
    share = synthetic.cost(job["task"]["ranks"], PROFILE)["macs"] / PROFILE.dense.macs
    return round(0.9 - 0.04 * (1 - share), 9)


def priced(job):
    return {"dense_value": 0.9, "cost": synthetic.cost(job["task"]["ranks"], PROFILE), "kl": 0.3}


def submit(service, **changes):
    request = {"objectives": ["macs"], "max_drop": 0.02, "constraints": {}, "n_trials": 16, **changes}
    return service.submit(**request)["id"]


def test_the_smallest_network_within_the_drop_is_found(service):
    study = submit(service, n_trials=30)
    service.agent(value=by_size, measure=priced).work()
    answered, best = service.study(study), service.get(f"/v1/studies/{study}/best")
    trials = service.trials(study)
    kept = [trial for trial in trials if 0.9 - trial["value"] <= 0.02 + 1e-9]
    assert 0 < len(kept) < len(trials)
    assert answered["state"] == "completed"
    assert best["macs"]["compressed"] == min(trial["result"]["cost"]["macs"] for trial in kept)
    assert best["macs"]["fraction"] < 0.6  # half of the network may go


def test_each_trial_says_whether_it_keeps_the_drop(service):
    study = submit(service)
    service.agent(value=by_size, measure=priced).work()
    for trial in service.trials(study):
        assert trial["feasible"] == (0.9 - trial["value"] <= 0.02 + 1e-9)


def test_a_drop_of_exactly_what_is_tolerated_is_tolerated(service):
    study = submit(service, max_drop=0.01, n_trials=2)
    service.agent(value=lambda _job: 0.89, measure=lambda _job: {"dense_value": 0.9}).work()
    assert service.study(study)["state"] == "completed"


def test_the_baseline_stands_in_for_a_dense_value_that_is_not_told(service):
    study = submit(service, max_drop=0.05, n_trials=2)
    service.agent(value=lambda job: 0.9 - 0.04 - 0.02 * job["trial"]).work()
    assert [trial["feasible"] for trial in service.trials(study)] == [True, False]


def test_of_equal_costs_the_better_metric_wins(service):
    study = submit(service, max_drop=0.5, n_trials=3)
    measure = {"dense_value": 0.9, "cost": {"macs": 1000, "params": 10}}
    service.agent(value=lambda job: [0.6, 0.8, 0.7][job["trial"]], measure=lambda _job: measure).work()
    assert service.study(study)["best_trial"] == 1


def test_a_study_without_a_feasible_trial_fails_and_says_what_was_nearest(service):
    study = submit(service, max_drop=0.01, n_trials=3)
    values = [0.80, 0.88, 0.85]
    service.agent(value=lambda job: values[job["trial"]], measure=lambda _job: {"dense_value": 0.9}).work()
    answered = service.study(study)
    assert (answered["state"], answered["error"]["code"]) == ("failed", "no_feasible_trial")
    assert "trial 1" in answered["reason"]
    assert "0.02" in answered["reason"]
    assert "max_drop" in answered["error"]["mend"]
    assert service.get(f"/v1/studies/{study}/artifacts")["items"] == []


def test_there_is_no_best_until_a_trial_is_feasible(service):
    study = submit(service, max_drop=0.01, n_trials=4)
    agent = service.agent(
        value=lambda job: 0.5 if job["trial"] == 0 else 0.9, measure=lambda _job: {"dense_value": 0.9}
    )
    agent.work(1 + 1)
    answer = service.http.get(f"/v1/studies/{study}/best")
    assert (answer.status_code, answer.json()["code"]) == (404, "best_not_found")
    assert "bounds" in answer.json()["detail"]
    assert service.study(study)["best_trial"] is None
    agent.work(1)
    assert service.get(f"/v1/studies/{study}/best")["trial"] == 1


def test_optuna_knows_which_trials_lose_too_much(service):
    study = submit(service)
    service.agent(value=by_size, measure=priced).work()
    seen = service.optuna(study)
    assert [all(excess <= 1e-9 for excess in trial.constraints.values()) for trial in seen.trials] == [
        trial["feasible"] for trial in service.trials(study)
    ]
    assert [trial.value for trial in seen.trials] == [
        trial["result"]["cost"]["macs"] for trial in service.trials(study)
    ]


def timed(service, latency_ms, measured, **changes):
    """A study with a bound on the latency; ``measured`` has, by trial, its and the dense network's."""
    service.prepare(profile=synthetic.timed(PROFILE))
    study = service.submit(constraints={"latency_ms": latency_ms}, n_trials=len(measured), **changes)["id"]
    agent = service.agent(
        value=lambda job: 0.9 - job["trial"] / 10,
        measure=lambda job: {"latency": synthetic.latency(*measured[job["trial"]])},
    )
    agent.work()
    return service.study(study), service.trials(study), agent


def test_a_trial_that_is_too_slow_is_not_the_best(service):
    answered, trials, _ = timed(service, 8.0, [(8.1, 10.0), (7.9, 10.0), (7.0, 10.0)])
    assert [trial["feasible"] for trial in trials] == [False, True, True]
    assert (answered["best_trial"], answered["limits"]) == (1, {"latency_ms": 8.0})


def test_per_cent_of_a_latency_are_of_the_dense_networks_measured_beside_it(service):
    answered, trials, _ = timed(service, "80%", [(8.1, 10.0), (8.1, 11.0), (12.0, 20.0)])
    assert [trial["feasible"] for trial in trials] == [False, True, True]
    assert answered["limits"] == {"latency_ms": 8.0}  # of the profile's ten


def test_the_latency_is_measured_where_a_study_is_about_it(service):
    _, _, agent = timed(service, 8.0, [(7.0, 10.0), (7.0, 10.0)])
    asked = {job["task"]["kind"]: job["task"].get("measure_latency") for job in agent.done}
    assert (asked["baseline"], asked["trial"]) == (True, True)


def test_a_trial_without_the_latency_it_is_about_failed(service):
    service.prepare(profile=synthetic.timed(PROFILE))
    study = service.submit(constraints={"latency_ms": 8.0}, n_trials=4)["id"]
    service.agent().work(1 + 1)
    (trial,) = service.trials(study)
    assert (trial["state"], trial["error"]["code"]) == ("FAIL", "evaluation_failed")
    assert "latency" in trial["error"]["detail"]


def test_trials_that_measure_nothing_bounded_are_neither_feasible_nor_not(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    assert service.trials(study)[0]["feasible"] is None
