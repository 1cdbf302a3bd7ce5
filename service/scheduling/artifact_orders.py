"""Which files are to be made, and which of them may be made by now.

Every function here works in its caller's transaction, with the study locked. A document can be made as soon as its
trial is complete. What is made from another job's document, an export or a fine-tuning, is held until that is there:
the transaction that takes the document in lets it go, and the one that gives the document up gives it up, too.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import EvaluationError
from service.scheduling.artifact_kinds import FINETUNE, HELD, SOURCE_OF
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.events import artifact_event, finetune_event
from service.scheduling.renewal import wait_anew
from service.scheduling.trial_jobs import new_trial_job
from service.storage.tables import JobRow, StudyRow

__all__ = ["order", "source_failed", "source_made"]

_OVER = frozenset({"failed", "cancelled"})


def order(session: Session, study: StudyRow, trial: JobRow, kind: str) -> JobRow:
    """Have a trial's file made, unless it is made already, or about to be; what failed is made again.

    Args:
        session: of the transaction.
        study: locked.
        trial: complete: its job, or the one that measured it as a finalist.
        kind: of the job that makes it; what it is made from is ordered along with it.
    """
    source = SOURCE_OF.get(kind)
    if source is None:
        return _ordered(session, study, trial, kind, "waiting")
    made = order(session, study, trial, source)
    return _ordered(session, study, trial, kind, "waiting" if made.state == "done" else HELD)


def source_made(session: Session, study: StudyRow, source: JobRow) -> None:
    """A model document is there: what is made from it can be claimed from now on."""
    held = _held(session, source)
    for job in held:
        job.state = "waiting"
        artifact_event(session, study, job)
    if held:
        Backend.ring_after(session, JOBS)


def source_failed(session: Session, study: StudyRow, source: JobRow) -> None:
    """A model document could not be made, or is not wanted any more: nor can what is made from it."""
    why = source.problem or {}
    for job in _held(session, source):
        problem = EvaluationError(
            "finetune_failed" if job.kind == FINETUNE else "export_failed",
            f"the model document that it is made from could not be made: {why.get('detail', 'no reason given')}",
            got=why.get("code"),
            mend=why.get("mend"),
        )
        job.state, job.finished_at, job.problem = "failed", now(session), problem.to_problem()
        artifact_event(session, study, job)
        if job.kind == FINETUNE:
            finetune_event(session, study, job)
        source_failed(session, study, job)


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


def _held(session: Session, source: JobRow) -> list[JobRow]:
    kinds = [kind for kind, made_from in SOURCE_OF.items() if made_from == source.kind]
    of_it = (JobRow.study_id == source.study_id, JobRow.trial_number == source.trial_number)
    held = select(JobRow).where(*of_it, JobRow.kind.in_(kinds), JobRow.state == HELD).order_by(JobRow.id)
    return list(session.scalars(held))
