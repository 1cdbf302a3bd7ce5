"""Leases: renewing, handing back, and what becomes of those that expire.

A lease is made in one transaction (:mod:`.taking`); its expiry is by the database's clock. Whoever holds the token
may renew, hand back, complete or fail the job; every such change is fenced by the token, so that after an expiry
nothing that the old holder does has any effect. Lock order, everywhere: the study, then its job, then its user.
"""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, EvaluationError, NotFoundError
from ranksearch.contracts.jobs import Lease
from service.access.visibility import know_names, names_of
from service.metrics import Metrics
from service.scheduling.attempts import hand_back, wait_again
from service.scheduling.backend import Backend, locked_study, now, set_clock
from service.storage.clock import database_now, moment
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow, WorkerRow

__all__ = [
    "check_held",
    "expire",
    "held",
    "lease_lost",
    "lease_of",
    "locked_job",
    "release",
    "renew",
    "study_of",
]

log = logging.getLogger(__name__)

_LOCKED = "locked_jobs"


@again_when_raced
def renew(backend: Backend, job_id: str, token: str) -> Lease:
    """Make a lease last longer.

    Raises:
        NotFoundError: no such job.
        ConflictError: ``lease_lost``.
    """
    with backend.writing() as session:
        at = now(session)
        job = held(session, job_id, token)
        job.lease_expires_at = at + backend.settings.lease_seconds
        session.execute(update(WorkerRow).where(WorkerRow.id == job.worker).values(last_seen_at=at))
        draining = session.scalar(select(WorkerRow.draining).where(WorkerRow.id == job.worker)) or False
        return lease_of(backend, job, draining=draining)


@again_when_raced
def release(backend: Backend, job_id: str, token: str) -> None:
    """Hand a job back undone: it waits again, and this attempt is not counted. Repeated, it does nothing.

    Raises:
        NotFoundError: no such job.
        ConflictError: ``lease_lost``.
    """
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = locked_job(session, job_id)
        if job.state == "waiting" and job.done_token == token:
            return
        check_held(job, token)
        job.attempts -= 1
        wait_again(session, study, job)


def expire(backend: Backend) -> int:
    """Turn expired leases into waiting jobs; after the last attempt the job fails. Returns how many there were."""
    with backend.reading() as session:
        at = now(session)
        overdue = select(JobRow.id).where(JobRow.state == "leased", JobRow.lease_expires_at < at)
        ids = session.scalars(overdue).all()
    return sum(_expire_one(backend, job) for job in ids)


def held(session: Session, job_id: str, token: str) -> JobRow:
    """The job, locked, provided that ``token`` holds its lease.

    An expired lease that nobody took over yet still holds.

    Raises:
        NotFoundError: no such job.
        ConflictError: ``lease_lost``.
    """
    job = locked_job(session, job_id)
    check_held(job, token)
    return job


def locked_job(session: Session, job_id: str, study: StudyRow | None = None) -> JobRow:
    """The job, locked; its study must be locked before it.

    Args:
        session: of a writing transaction.
        job_id: the job.
        study: whose best trial is about to be asked for; it comes with the same question.

    Raises:
        NotFoundError: no such job.
    """
    best = None if study is None else study.best_job
    jobs = {}
    for job, at in session.execute(_LOCKED_JOBS, {"job": job_id, "best": best or job_id}):
        set_clock(session, at)
        jobs[job.id] = job
    if job_id not in jobs:
        raise NotFoundError("job_not_found", "there is no such job", got=job_id)
    session.info[_LOCKED] = jobs  # a session forgets what nobody else refers to
    return jobs[job_id]


def check_held(job: JobRow, token: str) -> None:
    """That ``token`` holds the job's lease.

    Raises:
        ConflictError: ``lease_lost``.
    """
    if job.state != "leased" or job.lease_token != token:
        raise lease_lost(job)


def lease_lost(job: JobRow) -> ConflictError:
    """The error for a token that does not hold the job's lease, or does no longer."""
    return ConflictError(
        "lease_lost",
        "this lease does not hold the job any more",
        got=f"job {job.id} in state {job.state}",
        expected="the token of the job's present lease",
        mend="drop what was computed and claim again",
    )


def lease_of(backend: Backend, job: JobRow, *, draining: bool = False) -> Lease:
    """A job's lease, as its worker is told."""
    return Lease(
        token=job.lease_token or "",
        seconds=backend.settings.lease_seconds,
        expires_at=moment(job.lease_expires_at or 0.0),
        draining=draining,
    )


def study_of(session: Session, job_id: str) -> StudyRow | None:
    """The study that a job belongs to, locked; None for an inspection, or where there is no such job.

    Raises:
        NotFoundError: the study was deleted meanwhile.
    """
    row = session.execute(_STUDY_OF_JOB, {"job": job_id}).first()
    if row is None:
        study_id = session.scalar(select(JobRow.study_id).where(JobRow.id == job_id))
        return None if study_id is None else locked_study(session, study_id)
    study: StudyRow = row[0]
    know_names(session, study, row[1], row[2])
    return study


def _expire_one(backend: Backend, job_id: str) -> int:
    with backend.writing() as session:
        study = study_of(session, job_id)
        overdue = (JobRow.id == job_id, JobRow.state == "leased", JobRow.lease_expires_at < now(session))
        job = session.scalars(select(JobRow).where(*overdue).with_for_update(skip_locked=True)).first()
        if job is None:  # renewed or completed in between
            return 0
        Backend.count_after(session, partial(Metrics.expired, kind=job.kind))
        log.warning("lease expired job=%s kind=%s worker=%s attempt=%d", job.id, job.kind, job.worker, job.attempts)
        problem = EvaluationError(
            "evaluation_crashed",
            f"the worker {job.worker} stopped renewing its lease",
            mend="look at that worker: it was killed, lost its network, or its machine went down",
        )
        hand_back(session, study, job, problem.to_problem(), backend.settings)
        return 1


_STUDY_OF_JOB = (
    select(StudyRow, *names_of(StudyRow.user_id, StudyRow.project_id))
    .where(StudyRow.id == select(JobRow.study_id).where(JobRow.id == bindparam("job")).scalar_subquery())
    .with_for_update(of=StudyRow)
)
"""With the names that its events tell: one question less."""
_LOCKED_JOBS = (
    select(JobRow, database_now())
    .where(or_(JobRow.id == bindparam("job"), JobRow.id == bindparam("best")))
    .with_for_update(of=JobRow)
)
