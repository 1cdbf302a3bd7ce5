"""The service dies at every seam of planning and completing; whatever happens, a trial counts exactly once."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import select, update

from ranksearch.contracts.jobs import ClaimRequest, CompleteRequest
from ranksearch.contracts.study_requests import StudyRequest
from service.scheduling import outcomes, planning
from service.scheduling.claims import claim
from service.scheduling.reconcile import sweep
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


def after(function):
    def called(*args, **kwargs):
        function(*args, **kwargs)
        raise Crash

    return called


def crash_in_planning(monkeypatch, seam):
    if seam == "before the choice":
        monkeypatch.setattr(planning, "choose", before)
    elif seam == "before the record":
        monkeypatch.setattr(OptunaRecords, "record", before)
    elif seam == "after the record":
        monkeypatch.setattr(OptunaRecords, "record", after(OptunaRecords.record))
    elif seam == "after the row":
        monkeypatch.setattr(planning, "_store", after(planning._store))


def lease_is_over(service):
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.state == "leased").values(lease_expires_at=0.0))


SEAMS = ["before the choice", "before the record", "after the record", "after the row"]


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
    seen = optuna.load_study(study_name=study, storage=service.settings.url)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 5
    assert again.get(f"/v1/studies/{study}")["progress"]["complete"] == 5
    assert [trial["origin"] for trial in again.trials(study)] == ["uniform", "equal_error", *["sampler"] * 3]


def test_a_trial_of_several_methods_is_adopted_as_it_was_recorded(start, monkeypatch):
    service = start()
    grids = [[synthetic.site(f"l{i}", 10_000, 900, method=m, points=p) for m, p in METHODS] for i in range(4)]
    service.prepare(profile=synthetic.profile([synthetic.with_methods(*sites) for sites in grids]))
    study = service.submit(n_trials=6, methods=["cp3", "svd"])["id"]
    service.agent().work(1 + 3)
    with monkeypatch.context() as crashing:
        crash_in_planning(crashing, "after the record")
        with pytest.raises(Crash):
            claim(service.backend, REQUEST)
    again = start()
    lease_is_over(again)
    again.agent().work()
    seen = optuna.load_study(study_name=study, storage=service.settings.url)
    assert [trial.user_attrs["ranks"] for trial in seen.trials] == [trial["ranks"] for trial in again.trials(study)]
    assert len(seen.trials) == 6
    with again.backend.reading() as session:
        rows = session.scalars(select(JobRow).where(JobRow.kind == "trial").order_by(JobRow.trial_number)).all()
        stored = [dict(zip([f"l{i}" for i in range(4)], row.positions, strict=True)) for row in rows]
    assert stored == [{name: trial.params[name] for name in stored[0]} for trial in seen.trials]


def test_a_crash_before_optuna_is_told_is_made_good_at_the_next_start(start, monkeypatch):
    service = start()
    study = service.submit(n_trials=2)["id"]
    agent = service.agent()
    agent.work(1)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crashing.setattr(outcomes, "tell", before)
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    again = start()
    (trial,) = optuna.load_study(study_name=study, storage=service.settings.url).trials
    assert trial.state == TrialState.COMPLETE
    assert again.trials(study)[0]["state"] == "COMPLETE"


def test_a_crash_while_telling_is_made_good_at_the_next_start(start, monkeypatch):
    service = start()
    study = service.submit(n_trials=2)["id"]
    agent = service.agent()
    agent.work(1)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crashing.setattr(OptunaRecords, "tell", after(OptunaRecords.tell))
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    start()
    (trial,) = optuna.load_study(study_name=study, storage=service.settings.url).trials
    assert trial.state == TrialState.COMPLETE


def test_a_crash_before_the_optuna_study_exists_is_made_good_by_the_first_trial(start, monkeypatch):
    service = start()
    body = service.request(n_trials=2)
    with monkeypatch.context() as crashing:
        crashing.setattr(OptunaRecords, "ensure_study", before)
        with pytest.raises(Crash):
            submit(service.backend, StudyRequest.model_validate(body))
    again = start()
    (study,) = again.get("/v1/studies")["items"]
    again.agent().work()
    assert again.get(f"/v1/studies/{study['id']}")["state"] == "completed"


def test_a_study_cancelled_while_its_trial_was_planned_leaves_nothing_running_in_optuna(service, monkeypatch):
    study = service.submit(n_trials=3)["id"]
    service.agent().work(1)

    def cancelled_meanwhile(*args):
        service.http.post(f"/v1/studies/{study}/cancel")
        return store(*args)

    store = planning._store
    monkeypatch.setattr(planning, "_store", cancelled_meanwhile)
    assert claim(service.backend, REQUEST) is None
    (trial,) = optuna.load_study(study_name=study, storage=service.settings.url).trials
    assert trial.state == TrialState.FAIL


def test_a_study_cancelled_after_a_crash_in_planning_leaves_nothing_running_in_optuna(service, monkeypatch):
    study = service.submit(n_trials=3)["id"]
    service.agent().work(1)
    with monkeypatch.context() as crashing:
        crash_in_planning(crashing, "after the record")
        with pytest.raises(Crash):
            claim(service.backend, REQUEST)
    service.http.post(f"/v1/studies/{study}/cancel")
    (trial,) = optuna.load_study(study_name=study, storage=service.settings.url).trials
    assert trial.state == TrialState.FAIL


def test_the_same_seed_gives_the_same_trials_across_a_restart(start):
    service = start()
    whole, split = service.submit(n_trials=8, seed=5)["id"], service.submit(n_trials=8, seed=5)["id"]
    agent = service.agent()
    agent.work(2 + 8 + 3)  # both baselines, all of the first study, some of the second
    again = start()
    again.agent().work()
    assert [t["ranks"] for t in again.trials(whole)] == [t["ranks"] for t in again.trials(split)]
    assert len(again.trials(split)) == 8


def test_a_trial_recorded_before_a_crash_and_then_dropped_failed_in_optuna(start, monkeypatch):
    service = start()
    study = service.submit(n_trials=5, target=0.8)["id"]
    agent = service.agent(value=lambda _job: 0.9)
    agent.work(1)
    running = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crash_in_planning(crashing, "after the record")
        with pytest.raises(Crash):
            claim(service.backend, REQUEST)
    again = start()
    with again.backend.writing() as session:
        overdue = (JobRow.state == "leased", JobRow.trial_number.is_(None))
        session.execute(update(JobRow).where(*overdue).values(lease_expires_at=0.0))
    sweep(again.backend)
    ahead = again.agent(value=lambda _job: 0.9)
    ahead.complete(running)  # reaches the target while the other waits, unplanned as far as our rows know
    sweep(again.backend)
    seen = optuna.load_study(study_name=study, storage=service.settings.url)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    answered = again.get(f"/v1/studies/{study}")
    assert (answered["state"], answered["progress"]["dropped"]) == ("completed", 4)


def test_a_crash_after_the_end_was_decided_is_made_good_at_the_next_start(start, monkeypatch):
    """The plateau, the dropped trials and the artifact's job are one transaction with the result."""
    service = start()
    study = service.submit(n_trials=9, plateau=2)["id"]
    agent = service.agent(value=lambda job: 0.9 - job["trial"] / 10)
    agent.work(1 + 2)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crashing.setattr(outcomes, "tell", before)
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    again = start()
    answered = again.get(f"/v1/studies/{study}")
    assert (answered["state"], answered["stopped_by"]) == ("completed", "plateau")
    again.agent().work()
    assert again.get(f"/v1/studies/{study}/artifacts")["items"][0]["state"] == "ready"
    seen = optuna.load_study(study_name=study, storage=service.settings.url)
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE] * 3


def test_a_crash_among_the_finals_measures_each_finalist_once(start, monkeypatch):
    service = start()
    few = {"search_images": {"calibration": 5, "validation": 10}}
    study = service.submit(n_trials=4, finalists=2, **few)["id"]
    agent = service.agent()
    agent.work(1 + 4)
    job = agent.must_claim("trial")
    with monkeypatch.context() as crashing:
        crashing.setattr(outcomes, "tell", before)
        request = {"lease_token": job["lease"]["token"], "outcome": agent.outcome(job)}
        with pytest.raises(Crash):
            outcomes.complete(service.backend, job["id"], CompleteRequest.model_validate(request))
    again = start()
    rest = again.agent()
    rest.work()
    assert [one["task"]["kind"] for one in rest.done] == ["trial", "compress"]
    assert sum(trial["final"] is not None for trial in again.trials(study)) == 2
    assert len(optuna.load_study(study_name=study, storage=service.settings.url).trials) == 4
