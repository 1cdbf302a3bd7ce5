"""Trials that are significantly worse than the best stop early; they count once, and the search learns from them."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import select

from service.storage.tables import JobRow
from tests.service import synthetic

BATCHES = [0.30, 0.10, 0.20]


def racing(service, **options):
    """Its first two trials are measured to the end, and then all lose to them after two batches."""

    def measure(job):
        if job["trial"] < 2:
            return {"batch_values": BATCHES, "kl": 0.2}
        return {"batch_values": [0.40, 0.30], "kl": 0.35, "pruned": True}

    return service.agent(value=lambda job: 0.8 if job["trial"] == 0 else 0.5, measure=measure, **options)


def guides(service, study):
    with service.backend.reading() as session:
        rows = session.execute(select(JobRow.trial_number, JobRow.guide).where(JobRow.study_id == study))
        return {number: guide for number, guide in rows if number is not None and guide is not None}


def race_of(service, trials=2, agent=None, **changes):
    """The race of the trial after so many."""
    service.submit(n_trials=6, **changes)
    agent = agent or service.agent(measure=lambda _job: {"batch_values": BATCHES})
    agent.work(1 + trials)
    return agent.must_claim("trial")["task"]["race"]


def test_a_sampled_trial_races_with_the_best(service):
    agent = service.agent(
        value=lambda job: 0.9 if job["trial"] == 1 else 0.1,
        measure=lambda job: {"batch_values": [float(job["trial"])] * 3},
    )
    assert race_of(service, agent=agent) == {"batch_values": [1.0, 1.0, 1.0], "p_value": 0.05}


def test_trials_that_are_judged_by_their_outputs_race(service):
    agent = service.agent(value=lambda job: job["trial"], measure=lambda _job: {"batch_values": [0.25] * 3})
    assert race_of(service, agent=agent, metric="outputs")["batch_values"] == [0.25] * 3


@pytest.mark.parametrize("trials", [0, 1])
def test_a_warm_start_races_with_nobody(service, trials):
    assert race_of(service, trials=trials) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": "none"},
        {"metric": "features"},
        {"objectives": ["proxy", "macs"]},
        {"objectives": ["macs"], "max_drop": 0.9},
    ],
)
def test_nobody_races_where_the_worse_by_the_metric_may_be_the_better(service, changes):
    assert race_of(service, **changes) is None


def test_nobody_races_with_a_best_that_has_no_batches(service):
    assert race_of(service, agent=service.agent()) is None


def test_trials_that_lost_are_told_as_pruned(service):
    study = service.submit(n_trials=5)["id"]
    racing(service).work()
    answered = service.study(study)
    assert answered["state"] == "completed"
    assert {word: answered["progress"][word] for word in ("complete", "pruned", "failed")} == {
        "complete": 2,
        "pruned": 3,
        "failed": 0,
    }
    assert [trial["state"] for trial in service.trials(study)] == ["COMPLETE"] * 2 + ["PRUNED"] * 3
    seen = service.optuna(study)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 2 + [TrialState.PRUNED] * 3


def test_a_pruned_trial_is_never_the_best_whatever_it_measured(service):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent(
        value=lambda job: 0.99 if job["trial"] == 2 else 0.5,
        measure=lambda job: {"batch_values": BATCHES, "pruned": job["trial"] == 2},
    )
    agent.work()
    assert service.study(study)["best_trial"] == 0


def test_a_pruned_trials_guide_is_the_bests_and_how_much_worse_it_was_on_the_same_batches(service):
    study = service.submit(n_trials=3)["id"]
    racing(service).work()
    # 0.1 and 0.2 above the best in the first two batches, though those are not as hard as the third
    assert guides(service, study) == {0: 0.2, 1: 0.2, 2: pytest.approx(0.2 + 0.15)}


def test_the_guide_is_the_divergence_where_accuracy_is_the_metric(service):
    study = service.submit(n_trials=1)["id"]
    service.agent(measure=lambda _job: {"kl": 0.123}).work()
    assert guides(service, study) == {0: 0.123}


@pytest.mark.parametrize(
    ("metric", "value", "guide"), [("accuracy", 0.7, 0.2), ("kl", 0.3, 0.3), ("features", 0.4, 0.4), ("loss", 2.5, 1.5)]
)
def test_the_guide_is_small_where_a_trial_is_good_and_zero_for_the_dense_network(service, metric, value, guide):
    study = service.submit(n_trials=1, metric=metric)["id"]
    dense = {"accuracy": 0.9, "loss": 1.0}.get(metric, 0.0)
    service.agent(value=lambda _job: value, measure=lambda _job: {"dense_value": dense}).work()
    assert guides(service, study) == {0: pytest.approx(guide)}


def test_the_same_loss_told_again_counts_once(service):
    study = service.submit(n_trials=6)["id"]
    agent = racing(service)
    agent.work(1 + 2)
    job = agent.must_claim("trial")
    answers = [agent.post(job, "complete", outcome=agent.outcome(job)).status_code for _ in range(3)]
    assert answers == [204, 204, 204]
    assert service.study(study)["progress"]["pruned"] == 1


def test_a_baseline_cannot_lose_a_race(service):
    service.submit()
    agent = service.agent()
    job = agent.must_claim("baseline")
    outcome = {"kind": "baseline", "result": synthetic.result(0.9), "pruned": True}
    assert agent.post(job, "complete", outcome=outcome).status_code == 422


def test_a_lost_race_that_nobody_told_optuna_of_is_told_at_the_next_start(start, monkeypatch):
    service = start()
    study = service.submit(n_trials=4)["id"]
    agent = racing(service)
    agent.work(1 + 2)
    service.optuna(study)
    with monkeypatch.context() as crashing:
        crashing.setattr("service.app.mirror", lambda _backend: 0)
        agent.work(1)
    again = start()
    trial = optuna.load_study(study_name=study, storage=again.settings.url).trials[2]
    assert trial.state == TrialState.PRUNED
    assert again.study(study)["progress"]["pruned"] == 1
