from __future__ import annotations

import pytest
from sqlalchemy import update

from service.scheduling.reconcile import sweep
from service.storage.tables import StudyRow
from tests.service.api.test_events import replay


def post(service, study, what, **body):
    return service.http.post(f"/v1/studies/{study}/{what}", json=body or None)


def refusal(answer):
    return answer.status_code, answer.json()["code"]


def started(service, **changes):
    """A study whose baseline is measured, and its worker."""
    study, agent = service.submit(**changes)["id"], service.agent()
    agent.complete(agent.must_claim("baseline"))
    return study, agent


def fail(agent, times, detail="boom"):
    for _ in range(times):
        agent.fail(agent.must_claim("trial"), detail=detail)


def test_a_paused_study_gives_out_nothing_and_takes_what_ran(service):
    study, agent = started(service)
    job = agent.must_claim("trial")
    assert post(service, study, "pause").json()["state"] == "paused"
    assert agent.claim() is None
    agent.complete(job)
    answered = service.study(study)
    assert (answered["state"], answered["progress"]["complete"], answered["progress"]["waiting"]) == ("paused", 1, 3)


def test_others_are_served_while_a_study_is_paused(service):
    study, agent = started(service)
    post(service, study, "pause")
    other = service.submit()["id"]
    assert agent.must_claim("baseline")["study"] == other


def test_a_pause_says_by_whom_why_and_how_to_go_on(service):
    study = service.submit()["id"]
    assert post(service, study, "pause", reason="the box moves").json()["reason"] == "paused by local: the box moves"
    assert f"ranksearch resume {study}" in service.study(study)["waiting_for"]


def test_a_resumed_study_goes_on_to_its_end(service):
    study, agent = started(service)
    agent.complete(agent.must_claim("trial"))
    post(service, study, "pause")
    resumed = post(service, study, "resume").json()
    assert (resumed["state"], resumed["reason"]) == ("running", None)
    agent.work()
    assert (service.study(study)["state"], service.study(study)["progress"]["complete"]) == ("completed", 4)


def test_a_study_paused_before_it_began_is_queued_again(service):
    study = service.submit()["id"]
    post(service, study, "pause")
    assert post(service, study, "resume").json()["state"] == "queued"


def test_pausing_twice_is_pausing_once(service):
    study = service.submit()["id"]
    first, second = post(service, study, "pause", reason="first"), post(service, study, "pause", reason="second")
    assert (first.json()["reason"], second.json()["reason"]) == ("paused by local: first",) * 2


def test_the_events_tell_pause_and_resumption(service):
    study, agent = started(service, n_trials=1)
    post(service, study, "pause")
    post(service, study, "resume")
    agent.work()
    states = [event.json()["data"]["state"] for event in replay(service, study) if event.event == "study"]
    assert states == ["queued", "running", "paused", "running", "completed"]


def test_a_study_that_ended_cannot_be_paused_or_resumed(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    assert refusal(post(service, study, "pause")) == (409, "study_not_running")
    assert refusal(post(service, study, "resume")) == (409, "study_not_paused")


def test_a_running_study_cannot_be_resumed(service):
    study, _ = started(service)
    answer = post(service, study, "resume")
    assert refusal(answer) == (409, "study_not_paused")
    assert answer.json()["got"] == "state running"


@pytest.mark.parametrize("what", ["pause", "resume", "retry"])
def test_an_unknown_study(service, what):
    assert refusal(post(service, "sty_none", what)) == (404, "study_not_found")


def test_a_paused_study_can_be_cancelled(service):
    study, _ = started(service)
    post(service, study, "pause")
    assert post(service, study, "cancel").json()["state"] == "cancelled"


def test_a_paused_study_whose_last_trial_comes_in_is_completed(service):
    study, agent = started(service, n_trials=1)
    job = agent.must_claim("trial")
    post(service, study, "pause")
    agent.complete(job)
    assert service.study(study)["state"] == "completed"
    assert agent.must_claim()["task"]["kind"] == "compress"


def test_a_pause_does_not_count_for_the_timeout(service):
    study, agent = started(service, n_trials=9, timeout=100)
    agent.complete(agent.must_claim("trial"))
    post(service, study, "pause")
    with service.backend.writing() as session:  # all of it was 150 seconds ago
        earlier = {"started_at": StudyRow.started_at - 150, "paused_at": StudyRow.paused_at - 150}
        session.execute(update(StudyRow).values(**earlier))
    sweep(service.backend)
    assert service.study(study)["state"] == "paused"
    post(service, study, "resume")
    sweep(service.backend)
    assert service.study(study)["stopped_by"] is None
    agent.complete(agent.must_claim("trial"))
    with service.backend.writing() as session:
        session.execute(update(StudyRow).values(started_at=StudyRow.started_at - 101))
    sweep(service.backend)
    assert service.study(study)["stopped_by"] == "timeout"


def test_a_study_whose_first_three_trials_fail_pauses_with_the_reason(service):
    study, agent = started(service, n_trials=20)
    fail(agent, 3, detail="no such operator")
    answered = service.study(study)
    assert (answered["state"], answered["error"]["code"]) == ("paused", "study_failing")
    assert answered["reason"] == (
        "paused by the service: 3 trials failed in a row and none completed, the last with: no such operator"
    )
    assert agent.claim() is None


def test_five_failures_in_a_row_pause_a_study_that_had_successes(service):
    study, agent = started(service, n_trials=20)
    agent.complete(agent.must_claim("trial"))
    fail(agent, 4)
    agent.complete(agent.must_claim("trial"))
    fail(agent, 4)
    assert service.study(study)["state"] == "running"
    fail(agent, 1)
    answered = service.study(study)
    assert (answered["state"], answered["error"]["extra"]["last"]["detail"]) == ("paused", "boom")
    assert answered["reason"] == "paused by the service: 5 trials failed in a row, the last with: boom"


def test_how_many_failures_pause_a_study_is_a_setting(start):
    service = start(max_failures_in_row=2)
    study, agent = started(service, n_trials=20)
    fail(agent, 2)
    assert service.study(study)["state"] == "paused"


def test_a_resumed_study_counts_its_failures_anew(service):
    study, agent = started(service, n_trials=20)
    fail(agent, 3)
    assert post(service, study, "resume").json()["error"] is None
    fail(agent, 2)
    assert service.study(study)["state"] == "running"
    fail(agent, 1)
    assert service.study(study)["state"] == "paused"


def test_failures_with_nothing_left_to_give_out_end_the_study(service):
    study, agent = started(service, n_trials=3)
    fail(agent, 3, detail="no such operator")
    answered = service.study(study)
    assert (answered["state"], answered["error"]["code"]) == ("failed", "study_failing")
    assert "no such operator" in answered["reason"]
