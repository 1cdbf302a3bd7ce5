"""The service dies at every seam of planning and completing; whatever happens, a trial counts exactly once."""

from __future__ import annotations

import time

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import update

from ranksearch.contracts.jobs import ClaimRequest, CompleteRequest
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import LOCAL
from service.scheduling import mirroring, outcomes, planning, taking
from service.scheduling.bell import Bell
from service.scheduling.claims import claim
from service.scheduling.submission import submit
from service.search.optuna_records import OptunaRecords
from service.storage.tables import JobRow
from tests.service import synthetic

METHODS = (("cp3", 8), ("svd", 5))
"""And how many points of a grid."""
REQUEST = ClaimRequest(worker="w", name="w", device="cpu", version="0")


class Crash(BaseException):
    """The process ends here: nothing after it runs, not even a handler for exceptions."""


def before(*_args, **_kwargs):
    raise Crash


def crash_in_planning(monkeypatch, seam):
    if seam == "before the choice":
        monkeypatch.setattr(planning, "choose", before)
    elif seam == "before the row":
        monkeypatch.setattr(taking, "enter", before)
    elif seam == "before the commit":
        monkeypatch.setattr(taking, "described", before)
    elif seam == "after the commit":
        crash_after_committing(monkeypatch)


def crash_after_committing(monkeypatch):
    """What rings afterwards never does."""
    monkeypatch.setattr(Bell, "ring", before)


def lease_is_over(service):
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.state == "leased").values(lease_expires_at=0.0))


SEAMS = ["before the choice", "before the row", "before the commit", "after the commit"]


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize("at", [0, 3])
def test_a_crash_in_planning_costs_no_trial_and_adds_none(start, monkeypatch, seam, at):
    service = start()
    study = service.submit(n_trials=5)["id"]
    service.agent().work(1 + at)
    with monkeypatch.context() as crashing:
        crash_in_planning(crashing, seam)
        with pytest.raises(Crash):
            claim(service.backend, REQUEST)
    again = start()  # the same files, a new process
    lease_is_over(again)
    again.agent().work()
    seen = service.optuna(study)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 5
    assert again.get(f"/v1/studies/{study}")["progress"]["complete"] == 5
    assert [trial["origin"] for trial in again.trials(study)] == ["uniform", "equal_error", *["sampler"] * 3]


def crash_in_mirroring(monkeypatch, seam):
    if seam == "before Optuna is told":
        monkeypatch.setattr(OptunaRecords, "mirror", before)
    elif seam == "after Optuna was told":
        monkeypatch.setattr(mirroring, "_told", before)


@pytest.mark.parametrize("seam", ["before Optuna is told", "after Optuna was told"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_crash_around_telling_optuna_is_made_good_at_the_next_start(start, monkeypatch, seam, ends):
    service = start()
    service.prepare(profile=synthetic.profile(several_methods()))
    study = service.submit(n_trials=3, methods=["cp3", "svd"])["id"]
    agent = service.agent()
    agent.work(1)
    jobs = [agent.must_claim("trial") for _ in range(2)]
    if ends:
        service.optuna(study)
        agent.complete(jobs[0])
    with monkeypatch.context() as crashing:
        crash_in_mirroring(crashing, seam)
        with pytest.raises(Crash):
            mirroring.mirror(service.backend)
    again = start()
    seen = optuna.load_study(study_name=study, storage=again.settings.url).trials
    assert [trial.state for trial in seen] == [TrialState.COMPLETE if ends else TrialState.RUNNING, TrialState.RUNNING]
    assert [trial.user_attrs["job"] for trial in seen] == [job["id"] for job in jobs]
    rank = {name: one.get("rank") for name, one in seen[1].user_attrs["ranks"].items()}
    assert rank == {name: one["rank"] for name, one in again.trials(study)[1]["ranks"].items()}
    again.agent().work()
    lease_is_over(again)
    again.agent().work()
    assert [trial.state for trial in again.optuna(study).trials] == [TrialState.COMPLETE] * 3


def several_methods():
    grids = [[synthetic.site(f"l{i}", 10_000, 900, method=m, points=p) for m, p in METHODS] for i in range(4)]
    return [synthetic.with_methods(*sites) for sites in grids]


def test_a_trial_that_ends_while_optuna_is_told_of_it_is_told_again(service, monkeypatch):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(1)
    job = agent.must_claim("trial")
    told = OptunaRecords.mirror

    def ends_meanwhile(*args):
        told(*args)
        monkeypatch.setattr(OptunaRecords, "mirror", told)
        agent.complete(job)

    monkeypatch.setattr(OptunaRecords, "mirror", ends_meanwhile)
    assert mirroring.mirror(service.backend) == 1
    assert mirroring.mirror(service.backend) == 1
    (trial,) = optuna.load_study(study_name=study, storage=service.settings.url).trials
    assert trial.state == TrialState.COMPLETE


def test_optuna_learns_of_trials_by_itself(service):
    study = service.submit(n_trials=2)["id"]
    service.agent().work()
    deadline = time.monotonic() + 20
    while [t.state for t in optuna.load_study(study_name=study, storage=service.settings.url).trials] != [
        TrialState.COMPLETE
    ] * 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_crash_before_the_optuna_study_exists_is_made_good_by_the_first_trial(start, monkeypatch):
    service = start()
    body = service.request(n_trials=2)
    with monkeypatch.context() as crashing:
        crashing.setattr(OptunaRecords, "ensure_study", before)
        with pytest.raises(Crash):
            submit(service.backend, LOCAL, StudyRequest.model_validate(body))
    again = start()
    (study,) = again.get("/v1/studies")["items"]
    again.agent().work()
    assert again.get(f"/v1/studies/{study['id']}")["state"] == "completed"


def test_a_study_cancelled_while_its_trial_was_planned_has_no_such_trial(service, monkeypatch):
    study = service.submit(n_trials=3)["id"]
    service.agent().work(1)

    def cancelled_meanwhile(*args):
        service.http.post(f"/v1/studies/{study}/cancel")
        return choose(*args)

    choose = planning.choose
    monkeypatch.setattr(planning, "choose", cancelled_meanwhile)
    assert claim(service.backend, REQUEST) is None
    assert service.optuna(study).trials == []
    assert service.trials(study) == []


def test_a_cancelled_study_leaves_nothing_running_in_optuna(service):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent()
    agent.work(1)
    agent.must_claim("trial")
    assert [trial.state for trial in service.optuna(study).trials] == [TrialState.RUNNING]
    service.http.post(f"/v1/studies/{study}/cancel")
    assert [trial.state for trial in service.optuna(study).trials] == [TrialState.FAIL]


def test_the_same_seed_gives_the_same_trials_across_a_restart(start):
    service = start()
    whole, split = service.submit(n_trials=8, seed=5)["id"], service.submit(n_trials=8, seed=5)["id"]
    agent = service.agent()
    agent.work(2 + 8 + 3)  # both baselines, all of the first study, some of the second
    again = start()
    again.agent().work()
    assert [t["ranks"] for t in again.trials(whole)] == [t["ranks"] for t in again.trials(split)]
    assert len(again.trials(split)) == 8


def test_a_crash_after_the_end_was_decided_is_made_good_at_the_next_start(start, monkeypatch):
    """The plateau, the dropped trials and the artifact's job are one transaction with the result."""
    service = start()
    study = service.submit(n_trials=9, plateau=2)["id"]
    agent = service.agent(value=lambda job: 0.9 - job["trial"] / 10)
    agent.work(1 + 2)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crash_after_committing(crashing)
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    again = start()
    answered = again.get(f"/v1/studies/{study}")
    assert (answered["state"], answered["stopped_by"]) == ("completed", "plateau")
    again.agent().work()
    assert again.get(f"/v1/studies/{study}/artifacts")["items"][0]["state"] == "ready"
    seen = service.optuna(study)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 3


def test_a_crash_among_the_finals_measures_each_finalist_once(start, monkeypatch):
    service = start()
    few = {"search_images": {"calibration": 5, "validation": 10}}
    study = service.submit(n_trials=4, finalists=2, **few)["id"]
    agent = service.agent()
    agent.work(1 + 4)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crash_after_committing(crashing)
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    again = start()
    rest = again.agent()
    rest.work()
    assert [one["task"]["kind"] for one in rest.done] == ["trial", "compress"]
    assert sum(trial["final"] is not None for trial in again.trials(study)) == 2
    assert len(service.optuna(study).trials) == 4
