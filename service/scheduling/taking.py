"""A worker takes the next job.

What :mod:`.choosing` proposes is looked at again under locks, the study, its job, then its user, in the one transaction
that makes the lease; when something has changed since, another proposal is asked for.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.jobs import ClaimRequest, Lease
from service.metrics import Metrics
from service.scheduling.backend import Backend, locked_study, now
from service.scheduling.choosing import Proposal, choose, ripe
from service.scheduling.events import trial_event
from service.scheduling.fairness import running_of
from service.scheduling.leases import expire, lease_of
from service.scheduling.lifecycle import begin, end_if_overdue
from service.storage.identifiers import new_lease_token
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow, UserRow, WorkerRow

__all__ = ["take_next"]

_TRIES = 32
"""Each one in vain means that somebody else took a job meanwhile, or that a study's time was up."""
_FAIR_TRIES = 8
"""After these a job is taken even where its user was given another one since it was proposed."""


@again_when_raced
def take_next(backend: Backend, worker: ClaimRequest) -> tuple[str, Lease] | None:
    """Lease the next job to a worker; None when there is none for it. Returns the job's id.

    Looks without a write lock first, because mostly there is nothing.
    """
    with backend.reading() as session:
        waiting = exists().where(JobRow.state == "waiting")
        overdue = exists().where(JobRow.state == "leased", JobRow.lease_expires_at < now(session))
        some_wait, some_are_overdue = session.execute(select(waiting, overdue)).one()
    if some_are_overdue:
        expire(backend)
    elif not some_wait:
        return None
    for attempt in range(_TRIES):
        with backend.reading() as session:
            proposal = None if _is_out(session, worker) else choose(session, worker)
        if proposal is None:
            return None
        with backend.writing() as session:
            if _is_out(session, worker):
                return None
            job = _taken(session, proposal, fair=attempt < _FAIR_TRIES)
            if job is not None:
                _make_lease(session, backend, job, worker.worker)
                if proposal.study is not None:
                    _count_passed_over(session, proposal)
                return job.id, lease_of(backend, job)
    return None


def _is_out(session: Session, worker: ClaimRequest) -> bool:
    out = select(WorkerRow.left | WorkerRow.draining).where(WorkerRow.id == worker.worker)
    return session.scalar(out) or False


def _taken(session: Session, proposal: Proposal, *, fair: bool) -> JobRow | None:
    """The proposed job, locked with its study; None where it is not to be had like that any more.

    A study whose time is up loses its new trials here.
    """
    at = now(session)
    if proposal.study is None:
        study, which = None, JobRow.id == proposal.job
    else:
        try:
            study, which = locked_study(session, proposal.study), JobRow.study_id == proposal.study
        except NotFoundError:  # deleted meanwhile, with its jobs
            return None
        if study.state == "paused":
            return None
    jobs = select(JobRow).where(which, *ripe(at)).order_by(JobRow.priority, JobRow.ordinal, JobRow.id).limit(1)
    job = session.scalars(jobs.with_for_update(skip_locked=True)).first()
    if job is None:
        return None
    if study is not None:
        is_new = job.kind == "trial" and job.trial_number is None
        if (is_new and end_if_overdue(session, study)) or _runs_all_it_may(session, study):
            return None
    return job if _has_the_turn(session, proposal, fair=fair) else None


def _runs_all_it_may(session: Session, study: StudyRow) -> bool:
    if study.max_parallel is None:
        return False
    running = select(func.count()).where(JobRow.study_id == study.id, JobRow.state == "leased")
    return (session.scalar(running) or 0) >= study.max_parallel


def _has_the_turn(session: Session, proposal: Proposal, *, fair: bool) -> bool:
    """Whether the user's turn and quota are as they were; until the end of the transaction nobody changes that."""
    if not proposal.contested and proposal.account.max_parallel is None:
        return True
    user = session.scalars(select(UserRow).where(UserRow.id == proposal.account.user).with_for_update()).one()
    running = running_of(session, user.id)
    if user.max_parallel is not None and running >= user.max_parallel:
        return False
    return not fair or running <= proposal.account.running


def _make_lease(session: Session, backend: Backend, job: JobRow, worker: str) -> None:
    at = now(session)
    job.state, job.worker, job.lease_token = "leased", worker, new_lease_token()
    job.leased_at, job.lease_expires_at = at, at + backend.settings.lease_seconds
    job.attempts += 1
    job.not_before = None
    if job.started_at is None:
        Backend.count_after(session, partial(Metrics.waited, kind=job.kind, seconds=at - job.queued_at))
    job.started_at = job.started_at or at
    session.flush()
    if job.study_id is not None:
        study = session.get_one(StudyRow, job.study_id)
        begin(session, study)
        if job.trial_number is not None and job.kind == "trial":
            trial_event(session, study, job)


def _count_passed_over(session: Session, proposal: Proposal) -> None:
    """The study that waited longer is one step nearer to being served before those whose model a worker holds."""
    served = session.get_one(StudyRow, proposal.study)
    if served.passed_over:
        served.passed_over = 0
    if proposal.passed_over is not None:
        other = select(StudyRow).where(StudyRow.id == proposal.passed_over).with_for_update(skip_locked=True)
        head = session.scalars(other).first()
        if head is not None:
            head.passed_over += 1
