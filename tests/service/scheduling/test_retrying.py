from __future__ import annotations

import optuna
from optuna.trial import TrialState
from sqlalchemy import update

from service.scheduling.mirroring import mirror
from service.storage.tables import JobRow
from tests.service.scheduling.test_pausing import fail, post, refusal, started


def optuna_states(service, study):
    mirror(service.backend)
    seen = optuna.load_study(study_name=study, storage=service.settings.url)
    return [trial.state for trial in seen.trials]


def test_a_failed_study_is_retried_to_its_end_with_exactly_its_trials(service):
    study, agent = started(service, n_trials=3)
    fail(agent, 3)
    retried = post(service, study, "retry").json()
    assert (retried["state"], retried["error"], retried["progress"]["waiting"]) == ("running", None, 3)
    agent.work()
    answered = service.study(study)
    assert (answered["state"], answered["progress"]["complete"]) == ("completed", 3)
    assert optuna_states(service, study) == [TrialState.COMPLETE] * 3


def test_a_trial_that_is_done_again_while_optuna_is_told_of_its_failure_is_told_anew(service, monkeypatch):
    study, agent = started(service, n_trials=3)
    fail(agent, 3)
    tell = service.backend.records.mirror

    def slowly(*told):
        monkeypatch.setattr(service.backend.records, "mirror", tell)
        tell(*told)
        post(service, study, "retry")
        agent.work()

    monkeypatch.setattr(service.backend.records, "mirror", slowly)
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.kind == "trial").values(told=False))
    mirror(service.backend)
    assert service.study(study)["progress"]["complete"] == 3
    assert optuna_states(service, study) == [TrialState.COMPLETE] * 3


def test_a_retried_trial_keeps_its_number_and_its_ranks(service):
    study, agent = started(service, n_trials=9)
    fail(agent, 3)
    before = service.trials(study)
    post(service, study, "retry")
    agent.work(3)
    after = service.trials(study)
    assert [(trial["number"], trial["ranks"], trial["origin"]) for trial in after] == [
        (trial["number"], trial["ranks"], trial["origin"]) for trial in before
    ]
    assert {(trial["state"], trial["attempts"]) for trial in after} == {("COMPLETE", 1)}


def test_a_retry_of_a_paused_study_goes_on_with_it(service):
    study, agent = started(service, n_trials=20)
    fail(agent, 3)
    assert post(service, study, "retry").json()["state"] == "running"
    agent.work()
    assert service.study(study)["progress"]["complete"] == 20


def test_a_failed_baseline_is_retried_with_everything_that_it_took_down(service):
    study, agent = service.submit(n_trials=4)["id"], service.agent()
    baseline, running = agent.must_claim("baseline"), agent.must_claim("trial")
    agent.fail(baseline)
    assert agent.post(running, "renew").status_code == 409
    post(service, study, "retry")
    agent.work()
    answered = service.study(study)
    assert (answered["state"], answered["progress"]["complete"], answered["dense_value"]) == ("completed", 4, 0.9)
    assert optuna_states(service, study) == [TrialState.COMPLETE] * 4


def test_a_completed_study_takes_in_what_its_retried_trials_bring(service):
    study, agent = started(service, n_trials=4)
    fail(agent, 1)
    agent.work()
    before = service.study(study)
    assert (before["state"], before["progress"]["failed"]) == ("completed", 1)
    better = service.agent(value=lambda _job: 0.99)
    assert post(service, study, "retry").json()["state"] == "running"
    better.work()
    answered = service.study(study)
    assert (answered["state"], answered["best_value"], answered["best_trial"]) == ("completed", 0.99, 0)
    artifact = service.get(f"/v1/studies/{study}/artifacts")["items"]
    made = {one["name"]: (one["state"], one["trial"]) for one in artifact}
    assert made == {"compressed.safetensors": ("ready", 0), "trial-1.safetensors": ("ready", 1)}  # what was made stays


def test_an_artifact_of_a_best_that_stays_best_is_not_made_again(service):
    study, agent = started(service, n_trials=4)
    fail(agent, 1)
    service.agent(value=lambda _job: 0.99).work()
    best = service.study(study)["best_trial"]
    post(service, study, "retry")
    agent.work()
    assert (service.study(study)["state"], service.study(study)["best_trial"]) == ("completed", best)
    assert [job["task"]["kind"] for job in agent.done] == ["baseline", "trial"]


def test_finalists_are_called_anew_where_a_retried_trial_is_among_the_best(service):
    few = {"search_images": {"calibration": 5, "validation": 10}, "finalists": 2}
    study, agent = started(service, n_trials=4, **few)
    fail(agent, 1)
    agent.work()
    post(service, study, "retry")
    better = service.agent(value=lambda _job: 0.99)
    better.work()
    assert [job["task"]["kind"] for job in better.done] == ["trial", "trial", "compress"]  # itself, and as a finalist
    assert service.study(study)["best_trial"] == 0
    assert sum(trial["final"] is not None for trial in service.trials(study)) == 3


def test_a_failed_artifact_is_made_again_and_the_study_stays_completed(service):
    study, agent = service.submit(n_trials=1)["id"], service.agent()
    agent.work(2)
    agent.fail(agent.must_claim("compress"))
    assert post(service, study, "retry").json()["state"] == "completed"
    agent.complete(agent.must_claim("compress"))
    assert service.get(f"/v1/studies/{study}/artifacts")["items"][0]["state"] == "ready"


def test_what_was_dropped_stays_dropped(service):
    study, agent = started(service, n_trials=9, target=0.8)
    fail(agent, 1)
    service.agent(value=lambda _job: 0.9).work()
    assert service.study(study)["progress"]["dropped"] == 7
    post(service, study, "retry")
    agent.work()
    progress = service.study(study)["progress"]
    assert (progress["complete"], progress["failed"], progress["dropped"]) == (2, 0, 7)


def test_a_study_without_failures_has_nothing_to_retry(service):
    study, agent = started(service)
    assert refusal(post(service, study, "retry")) == (409, "nothing_to_retry")
    agent.work()
    assert refusal(post(service, study, "retry")) == (409, "nothing_to_retry")


def test_a_cancelled_study_is_not_taken_up_again(service):
    study, agent = started(service)
    fail(agent, 1)
    post(service, study, "cancel")
    assert refusal(post(service, study, "retry")) == (409, "study_finished")
