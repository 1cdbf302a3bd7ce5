from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from service.version import VERSION
from tests.service import synthetic


def state(service, study):
    return service.get(f"/v1/studies/{study}")["state"]


def optuna_study(service, study):
    return service.optuna(study)


def test_the_best_trial_is_the_largest_accuracy(service):
    study = service.submit(n_trials=5)["id"]
    service.agent(value=lambda job: {0: 0.1, 3: 0.8}.get(job["trial"], 0.3)).work()
    assert service.get(f"/v1/studies/{study}")["best_trial"] == 3


def test_the_best_trial_is_the_smallest_kl(service):
    study = service.submit(n_trials=5, metric="kl")["id"]
    service.agent(value=lambda job: {0: 0.1, 3: 0.8}.get(job["trial"], 0.3)).work()
    assert service.get(f"/v1/studies/{study}")["best_trial"] == 0


def test_of_equal_trials_the_earlier_one_is_best(service):
    study = service.submit(n_trials=4)["id"]
    agent = service.agent(value=lambda _job: 0.5)
    agent.complete(agent.must_claim("baseline"))
    jobs = [agent.must_claim("trial") for _ in range(4)]
    for job in reversed(jobs):
        agent.complete(job)
    assert service.get(f"/v1/studies/{study}")["best_trial"] == 0


def test_the_dense_value_is_the_baselines(service):
    study = service.submit()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    assert service.get(f"/v1/studies/{study}")["dense_value"] == 0.9


def test_a_study_waits_for_its_baseline(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    baseline = agent.must_claim("baseline")
    agent.complete(agent.must_claim("trial"))
    assert state(service, study) == "running"
    agent.complete(baseline)
    assert state(service, study) == "completed"


def test_a_failed_baseline_fails_the_study_with_its_problem(service):
    study = service.submit()["id"]
    agent = service.agent()
    agent.fail(agent.must_claim("baseline"), detail="the model refuses the images")
    answered = service.get(f"/v1/studies/{study}")
    assert (answered["state"], answered["reason"]) == ("failed", "the model refuses the images")
    assert agent.claim() is None


def test_failures_after_a_success_do_not_fail_the_study(service):
    study = service.submit(n_trials=6)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.complete(agent.must_claim("trial"))
    for _ in range(5):
        agent.fail(agent.must_claim("trial"))
    answered = service.get(f"/v1/studies/{study}")
    assert (answered["state"], answered["progress"]["failed"]) == ("completed", 5)


def test_a_study_of_one_failed_trial_fails(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.fail(agent.must_claim("trial"))
    assert state(service, study) == "failed"


def test_cancelling_stops_everything(service):
    study = service.submit()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    assert service.http.post(f"/v1/studies/{study}/cancel").json()["state"] == "cancelled"
    assert agent.claim() is None
    answer = agent.post(job, "renew")
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")


def test_cancelling_keeps_what_was_found(service):
    study = service.submit()["id"]
    agent = service.agent()
    agent.work(3)
    service.http.post(f"/v1/studies/{study}/cancel")
    assert service.get(f"/v1/studies/{study}/best")["state"] == "cancelled"


def test_cancelling_twice_is_cancelling_once(service):
    study = service.submit()["id"]
    assert [service.http.post(f"/v1/studies/{study}/cancel").status_code for _ in range(2)] == [200, 200]


def test_a_completed_study_cannot_be_cancelled(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    answer = service.http.post(f"/v1/studies/{study}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "study_finished")


def test_a_running_trial_of_a_cancelled_study_failed(service):
    study = service.submit()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.must_claim("trial")
    service.http.post(f"/v1/studies/{study}/cancel")
    (trial,) = service.trials(study)
    assert (trial["state"], trial["error"]["code"]) == ("FAIL", "trial_cancelled")
    assert [trial.state for trial in optuna_study(service, study).trials] == [TrialState.FAIL]


def test_the_artifact_is_pending_then_ready(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert artifact["state"] == "pending"
    agent.work()
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert (artifact["state"], artifact["name"]) == ("ready", "compressed.safetensors")


def test_a_failed_compression_leaves_the_study_completed(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    agent.fail(agent.must_claim("compress"), detail="no memory")
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert (artifact["state"], artifact["error"]["detail"]) == ("failed", "no memory")
    assert state(service, study) == "completed"


def test_a_compressed_model_must_be_uploaded_first(service):
    service.submit(n_trials=1)
    agent = service.agent()
    agent.work(2)
    job = agent.must_claim("compress")
    answer = agent.post(job, "complete", outcome={"kind": "compress", "sha256": "0" * 64, "parity": synthetic.parity()})
    assert (answer.status_code, answer.json()["code"]) == (404, "blob_not_found")
    agent.complete(job)


def test_optuna_reads_the_study(service):
    study = service.submit(n_trials=6)["id"]
    service.agent().work()
    seen = optuna_study(service, study)
    answered = service.get(f"/v1/studies/{study}")
    assert seen.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 6
    assert seen.best_value == answered["best_value"]
    assert [trial.value for trial in seen.trials] == [trial["value"] for trial in service.trials(study)]


def test_no_trial_is_planned_above_the_budget(service):
    study = service.submit(n_trials=15)
    service.agent().work()
    planned = [trial["planned"]["macs"] for trial in service.trials(study["id"])]
    assert max(planned) <= study["limits"]["macs"]


def test_a_task_has_what_the_worker_needs(service):
    service.submit(seed=3, batch_size=17)
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    task = agent.must_claim("trial")["task"]
    assert (task["seed"], task["batch_size"], task["metric"]) == (3, 17, "accuracy")
    assert (task["calibration"]["start"], task["calibration"]["stop"]) == (0, 20)
    assert (task["validation"]["start"], task["validation"]["stop"]) == (20, 40)
    assert task["model"]["sha256"] == synthetic.sha256(synthetic.model_document())


def test_a_trial_that_cannot_be_planned_does_not_block_the_queue(service, monkeypatch):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))

    def broken(*_args):
        raise RuntimeError("broken")

    monkeypatch.setattr("service.scheduling.planning.choose", broken)
    about = {"worker": "w", "name": "w", "device": "cpu", "version": VERSION}
    answers = [service.http.post("/v1/jobs/claim", json=about) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {500}
    assert state(service, study) == "failed"


@pytest.mark.parametrize("kind", ["inspect", "baseline", "trial", "compress"])
def test_a_waiting_study_or_model_says_that_no_worker_is_connected(start, kind):
    service = start(worker_away_seconds=1e-6)
    if kind == "inspect":
        answered = service.upload_model().json()
    else:
        study = service.submit(n_trials=1)["id"]
        service.agent().work({"baseline": 0, "trial": 1, "compress": 2}[kind])
        answered = service.get(f"/v1/studies/{study}")
    assert "no worker is connected" in answered["waiting_for"]


def test_a_study_whose_trial_is_running_waits_for_nothing(service):
    study = service.submit()["id"]
    service.agent().must_claim()
    assert service.get(f"/v1/studies/{study}")["waiting_for"] is None


def test_a_study_waits_for_workers_that_are_busy_elsewhere(service):
    service.submit()
    agent = service.agent("inspector")
    agent.must_claim("baseline")
    other = service.submit()["id"]
    assert "busy" in service.get(f"/v1/studies/{other}")["waiting_for"]
