"""Which files are to be made, and which of them may be made by now.

Every function here works in its caller's transaction, with the study locked. A document can be made as soon as its
trial is complete. An export is held until the document of its trial is there: the transaction that takes the document
in lets it go, and the one that gives the document up gives it up, too.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.artifacts import ArtifactFormat
from ranksearch.contracts.errors import EvaluationError
from service.scheduling.artifact_kinds import DOCUMENT, EXPORT_KINDS, HELD, KIND_OF
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.events import artifact_event
from service.scheduling.renewal import wait_anew
from service.scheduling.trial_jobs import new_trial_job
from service.storage.tables import JobRow, StudyRow

__all__ = ["document_failed", "document_made", "order"]

_OVER = frozenset({"failed", "cancelled"})


def order(session: Session, study: StudyRow, trial: JobRow, wanted: ArtifactFormat) -> JobRow:
    """Have a trial's file made, unless it is made already, or about to be; what failed is made again.

    Args:
        session: of the transaction.
        study: locked.
        trial: complete: its job, or the one that measured it as a finalist.
        wanted: the format; the document that another format is made from is ordered along with it.
    """
    document = _ordered(session, study, trial, DOCUMENT, "waiting")
    if wanted == "document":
        return document
    return _ordered(session, study, trial, KIND_OF[wanted], "waiting" if document.state == "done" else HELD)


def document_made(session: Session, study: StudyRow, document: JobRow) -> None:
    """A trial's document is there: what is made from it can be claimed from now on."""
    held = _held(session, document)
    for job in held:
        job.state = "waiting"
        artifact_event(session, study, job)
    if held:
        Backend.ring_after(session, JOBS)


def document_failed(session: Session, study: StudyRow, document: JobRow) -> None:
    """A trial's document could not be made: nor can what is made from it."""
    why = document.problem or {}
    for job in _held(session, document):
        problem = EvaluationError(
            "export_failed",
            f"the model document that it is made from could not be made: {why.get('detail', 'no reason given')}",
            got=why.get("code"),
            mend=why.get("mend"),
        )
        job.state, job.finished_at, job.problem = "failed", now(session), problem.to_problem()
        artifact_event(session, study, job)


def _ordered(session: Session, study: StudyRow, trial: JobRow, kind: str, state: str) -> JobRow:
    same = (JobRow.study_id == study.id, JobRow.kind == kind, JobRow.trial_number == trial.trial_number)
    job = session.scalars(select(JobRow).where(*same)).first()
    if job is not None and job.state not in _OVER:
        return job
    if job is None:
        job = new_trial_job(study, trial, kind)
        session.add(job)
    else:
        wait_anew(job)
    job.state = state
    artifact_event(session, study, job)
    Backend.ring_after(session, JOBS)
    return job


def _held(session: Session, document: JobRow) -> list[JobRow]:
    of_it = (JobRow.study_id == document.study_id, JobRow.trial_number == document.trial_number)
    held = select(JobRow).where(*of_it, JobRow.kind.in_(EXPORT_KINDS), JobRow.state == HELD).order_by(JobRow.id)
    return list(session.scalars(held))
