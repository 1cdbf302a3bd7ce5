"""Asking for something to be done with a complete trial: which trial it is, and that the same request does it once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, NotFoundError
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend, now
from service.scheduling.fairness import welcome_back
from service.scheduling.solutions import no_best
from service.scheduling.submission import check_same_request
from service.scheduling.trial_states import TRIAL_STATES
from service.storage.tables import IdempotencyRow, JobRow, StudyRow

__all__ = ["ask_of_trial", "complete_trial"]

View = TypeVar("View")

_WHY_NOT = {
    "WAITING": "it waits to be measured: ask again once it is complete",
    "RUNNING": "it is being measured: ask again once it is complete",
    "PRUNED": "it was stopped early, being worse than the best: name a complete trial",
    "FAIL": "it failed: `ranksearch retry` has it done again",
}


def ask_of_trial(
    backend: Backend,
    caller: Principal,
    study_id: str,
    wanted: BaseModel,
    key: str | None,
    *,
    what: str,
    trial: int | None,
    order: Callable[[Session, StudyRow, JobRow], JobRow],
    view: Callable[[Session, JobRow], View],
) -> View:
    """Have a job made of a complete trial, whatever state its study is in, in one transaction.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: whose trial.
        wanted: the request.
        key: its idempotency key: with it, "the best" stays the trial that it was.
        what: is asked for, in a word, as the audit's entry and the key know it.
        trial: its number; None: the best.
        order: makes the job, or finds the one that was made before; the study is locked.
        view: what is answered.

    Raises:
        NotFoundError: no such study or trial, or no best one yet.
        ConflictError: ``trial_not_complete``.
        InputError: ``idempotency_mismatch``.
    """
    body = hashlib.sha256(f"{what} {study_id} {wanted.model_dump_json()}".encode()).hexdigest()
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        earlier = None if key is None else session.get(IdempotencyRow, (caller.project, key))
        if earlier is not None:
            check_same_request(earlier, body)
            return view(session, session.get_one(JobRow, earlier.job_id))
        of_trial = complete_trial(session, study, trial)
        welcome_back(session, study.user_id)
        job = order(session, study, of_trial)
        if key is not None:
            made = {"body_sha256": body, "study_id": study.id, "job_id": job.id, "created_at": now(session)}
            session.add(IdempotencyRow(project_id=caller.project, key=key, **made))
        told = wanted.model_dump(mode="json", exclude={"trial"})
        record(session, caller, f"study.{what}", study.id, trial=of_trial.trial_number, **told)
        return view(session, job)


def complete_trial(session: Session, study: StudyRow, number: int | None) -> JobRow:
    """A trial's job by its number; None: the best, or what measured it as a finalist.

    Raises:
        NotFoundError: there is none, or no best one yet.
        ConflictError: ``trial_not_complete``.
    """
    if number is None:
        if study.best_job is None:
            raise no_best(session, study)
        return session.get_one(JobRow, study.best_job)
    of_number = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.trial_number == number)
    trial = session.scalars(select(JobRow).where(*of_number)).first()
    if trial is None:
        raise NotFoundError(
            "trial_not_found",
            "this study has no such trial",
            got=number,
            mend=f"the complete ones: GET /v1/studies/{study.id}/trials?state=COMPLETE",
        )
    state = TRIAL_STATES[trial.state]
    if state != "COMPLETE":
        raise ConflictError(
            "trial_not_complete",
            f"no network is made of trial {number}",
            got=f"state {state}",
            expected="a complete trial",
            mend=_WHY_NOT[state],
        )
    return trial
