"""Pausing a study, by hand or because its trials fail in a row, and going on with it.

A paused study gives out no job; what runs is handed in as usual, and may even end the study where nothing else of it
waits. Its timeout's clock stands still meanwhile.
"""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, EvaluationError
from ranksearch.contracts.studies import Study
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import JOBS, Backend
from service.scheduling.events import study_event
from service.scheduling.fairness import welcome_back
from service.scheduling.stopping import start_clock, stop_clock
from service.scheduling.views import study_view, tally_of
from service.settings import Settings
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow, UserRow

__all__ = ["go_on", "pause", "pause_if_failing", "resume"]

log = logging.getLogger(__name__)

_HOPELESS = 3
"""So many trials fail, and none completes, until a study pauses."""


@again_when_raced
def pause(backend: Backend, caller: Principal, study_id: str, why: str | None = None) -> Study:
    """Give out no further job of a study. Paused again, it stays as it is.

    Raises:
        NotFoundError: no such study.
        ConflictError: ``study_not_running``: it has ended.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        if study.state not in {"queued", "running", "paused"}:
            raise ConflictError(
                "study_not_running",
                "only a study that is queued or running can be paused",
                got=f"state {study.state}",
                expected="state queued or running",
                mend="a study that failed, or some of whose trials did, can be retried"
                if study.state in {"failed", "completed"}
                else "submit another one",
            )
        if study.state != "paused":
            user = session.get(UserRow, caller.user)
            by = caller.user if user is None else user.name
            _pause(session, study, f"paused by {by}" + (f": {why}" if why else ""))
            record(session, caller, "study.pause", study.id, **({"reason": why} if why else {}))
        return study_view(session, study)


@again_when_raced
def resume(backend: Backend, caller: Principal, study_id: str) -> Study:
    """Go on with a paused study.

    Raises:
        NotFoundError: no such study.
        ConflictError: ``study_not_paused``.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        if study.state != "paused":
            raise ConflictError(
                "study_not_paused",
                "only a paused study can be resumed",
                got=f"state {study.state}",
                expected="state paused",
                mend="it goes on by itself" if study.state in {"queued", "running"} else None,
            )
        welcome_back(session, study.user_id)
        go_on(session, study)
        record(session, caller, "study.resume", study.id)
        study_event(session, study)
        return study_view(session, study)


def go_on(session: Session, study: StudyRow) -> None:
    """Take a study into the state in which its jobs are given out, and forget how it fared before."""
    start_clock(session, study)
    study.state = "queued" if study.started_at is None else "running"
    study.pause_reason = study.problem = None
    study.failures_in_row = 0
    Backend.ring_after(session, JOBS)


def pause_if_failing(session: Session, study: StudyRow, job: JobRow, settings: Settings) -> bool:
    """After a trial: pause the study where trials failed in a row, instead of letting it burn the fleet.

    There must be something left to give out: otherwise the study ends by itself. The study's event is written.
    """
    study.failures_in_row = study.failures_in_row + 1 if job.state == "failed" else 0
    if study.failures_in_row < min(_HOPELESS, settings.max_failures_in_row):
        return False
    progress = tally_of(session, study).progress(study)
    hopeless = progress.complete + progress.pruned == 0
    limit = min(_HOPELESS, settings.max_failures_in_row) if hopeless else settings.max_failures_in_row
    if study.state != "running" or study.failures_in_row < limit or not _has_waiting(session, study):
        return False
    last = job.problem or {}
    detail = last.get("detail", "no reason given")
    problem = EvaluationError(
        "study_failing",
        f"{study.failures_in_row} trials failed in a row{' and none completed' if hopeless else ''}, "
        f"the last with: {detail}",
        mend=last.get("mend"),
        last=last,
    )
    study.problem = problem.to_problem()
    log.warning("study paused study=%s failures=%d", study.id, study.failures_in_row)
    _pause(session, study, f"paused by the service: {problem.detail}")
    return True


def _pause(session: Session, study: StudyRow, reason: str) -> None:
    stop_clock(session, study)
    study.state, study.pause_reason = "paused", reason
    study_event(session, study)


def _has_waiting(session: Session, study: StudyRow) -> bool:
    waiting = select(JobRow.id).where(JobRow.study_id == study.id, JobRow.state == "waiting")
    return session.scalars(waiting.limit(1)).first() is not None
