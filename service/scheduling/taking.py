"""A worker takes the next job.

What :mod:`.choosing` proposes, and the ranks that :mod:`.planning` drafts for it, are looked at again under locks, the
study, its job, then its user, in the one transaction that makes the lease and stores the ranks; when something has
changed since, another proposal is asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.orm import Session, aliased

from ranksearch.contracts.errors import EvaluationError, NotFoundError
from ranksearch.contracts.jobs import ClaimRequest, Job
from service.metrics import Metrics
from service.scheduling.attempts import hand_back
from service.scheduling.backend import OPTUNA, Backend, locked_study, now, planning_of, set_clock
from service.scheduling.choosing import IN_LINE, Proposal, choose, ripe
from service.scheduling.events import trial_event
from service.scheduling.fairness import ACCOUNT, IN_QUEUE, running_of
from service.scheduling.leases import expire, lease_of
from service.scheduling.lifecycle import begin, end_if_overdue
from service.scheduling.planning import Draft, draft, enter
from service.scheduling.priorities import PRIORITY
from service.scheduling.requested_kinds import REQUESTED
from service.scheduling.tasks import described
from service.storage.clock import database_now
from service.storage.identifiers import new_lease_token
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow, UserRow, WorkerRow

__all__ = ["Taken", "take_next"]

log = logging.getLogger(__name__)

_TRIES = 32
"""Each one in vain means that somebody else took a job meanwhile, or that a study's time was up."""
_FAIR_TRIES = 8
"""After these a job is taken even where its user was given another one since it was proposed."""
_UNPLANNED = EvaluationError("evaluation_failed", "the service could not plan this trial; its log says why")


@dataclass(frozen=True)
class Taken:
    """A job that was leased.

    Args:
        kind: of the job.
        job: as its worker is told.
        sampling_seconds: what choosing its ranks took.
    """

    kind: str
    job: Job
    sampling_seconds: float


@dataclass(frozen=True)
class _Found:
    """A job, locked.

    Args:
        job: its row.
        number: that its study's next trial has.
    """

    job: JobRow
    number: int


@again_when_raced
def take_next(backend: Backend, worker: ClaimRequest) -> Taken | None:
    """Lease the next job to a worker; None when there is none for it.

    Looks without a write lock first, because mostly there is nothing.

    Raises:
        Exception: whatever kept the ranks of a trial from being chosen; that was an attempt, and the trial goes back.
    """
    for attempt in range(_TRIES):
        proposal = _proposal(backend, worker)
        if proposal is None:
            return None
        if proposal.study is None:
            taken = _take(backend, worker, proposal, None, fair=attempt < _FAIR_TRIES)
        else:
            with backend.in_turn(planning_of(proposal.study)):
                planned = draft(backend, proposal.study)
                taken = _take(backend, worker, proposal, planned, fair=attempt < _FAIR_TRIES)
        if taken is not None:
            return taken
    return None


def _proposal(backend: Backend, worker: ClaimRequest) -> Proposal | None:
    """What the worker should be given; None where there is nothing for it."""
    with backend.looking() as session:
        seen = session.connection().execute(_LOOK, {"worker": worker.worker}).all()
        some_wait, some_go_first, some_are_overdue, is_out, at = seen[0][:_LOOKED_AT]
        if is_out or not (some_wait or some_are_overdue):
            return None
        if not some_are_overdue:
            set_clock(session, at)
            waiting = [account for row in seen if (account := row[_LOOKED_AT:])[0] is not None]
            return choose(session, worker, only_trials=not some_go_first, waiting=waiting)
    expire(backend)
    with backend.looking() as session:
        return choose(session, worker)


def _take(
    backend: Backend, worker: ClaimRequest, proposal: Proposal, planned: Draft | None, *, fair: bool
) -> Taken | None:
    """Lease what was proposed, with the ranks that were chosen for it; None where it is not to be had like that."""
    problem = None if planned is None else planned.problem
    with backend.writing() as session:
        study, found = _locked(session, worker.worker, proposal, planned, fair=fair)
        if found is None:
            return None
        job = found.job
        if planned is not None and problem is None:
            enter(job, planned, found.number)
        _make_lease(session, backend, study, job, worker.worker)
        if study is not None:
            _count_passed_over(session, study, proposal.passed_over)
        if problem is None:
            told = described(session, backend, study, job, lease_of(backend, job))
            return Taken(job.kind, told, 0.0 if planned is None else planned.seconds)
        hand_back(session, study, job, _UNPLANNED.to_problem(), backend.settings)
    log.error("planning failed job=%s", job.id)
    raise problem


def _locked(
    session: Session, worker: str, proposal: Proposal, planned: Draft | None, *, fair: bool
) -> tuple[StudyRow | None, _Found | None]:
    """The proposed job and its study, both locked; no job where it is not to be had like that any more.

    A study whose time is up loses its new trials here.
    """
    study = None
    if proposal.study is not None:
        try:
            study = locked_study(session, proposal.study)
        except NotFoundError:  # deleted meanwhile, with its jobs
            return None, None
    found = _next_job(session, worker, proposal, planned, study)
    if found is not None and study is not None:
        is_new = found.job.kind == "trial" and found.job.trial_number is None
        if (is_new and (end_if_overdue(session, study) or planned is None)) or _runs_all_it_may(session, study):
            return study, None
    has_it = found is not None and _has_the_turn(session, proposal, fair=fair)
    return study, (found if has_it else None)


def _next_job(
    session: Session, worker: str, proposal: Proposal, planned: Draft | None, study: StudyRow | None
) -> _Found | None:
    """The job that was looked at before, if it is still there, and the worker may have it; locked.

    Of a paused study that is something that was asked for, and nothing else.
    """
    if planned is not None or proposal.study is None:
        statement, which = _THE_JOB, proposal.job if planned is None else planned.job
    else:
        statement, which = _NEXT_JOB, proposal.study
    if study is not None and study.state == "paused":
        statement = statement.where(JobRow.kind.in_(REQUESTED))
    row = session.execute(statement, {"worker": worker, "which": which}).first()
    if row is None or row[1]:
        return None
    job, _, at, last = row
    set_clock(session, at)
    return _Found(job, 0 if last is None else last + 1)


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


def _make_lease(session: Session, backend: Backend, study: StudyRow | None, job: JobRow, worker: str) -> None:
    at = now(session)
    job.state, job.worker, job.lease_token = "leased", worker, new_lease_token()
    job.leased_at, job.lease_expires_at = at, at + backend.settings.lease_seconds
    job.attempts += 1
    job.not_before = None
    if job.started_at is None:
        Backend.count_after(session, partial(Metrics.waited, kind=job.kind, seconds=at - job.queued_at))
    job.started_at = job.started_at or at
    if study is not None:
        session.flush()
        begin(session, study)
        if job.trial_number is not None and job.kind == "trial":
            trial_event(session, study, job)
            Backend.ring_after(session, OPTUNA)


def _count_passed_over(session: Session, served: StudyRow, passed_over: str | None) -> None:
    """The study that waited longer is one step nearer to being served before those whose model a worker holds."""
    if served.passed_over:
        served.passed_over = 0
    if passed_over is not None:
        other = select(StudyRow).where(StudyRow.id == passed_over).with_for_update(skip_locked=True)
        head = session.scalars(other).first()
        if head is not None:
            head.passed_over += 1


_OUT = select(WorkerRow.left | WorkerRow.draining).where(WorkerRow.id == bindparam("worker")).scalar_subquery()
"""Whether a worker must not be given anything; nothing where it is not known."""
_SEEN = select(
    exists().where(JobRow.state == "waiting").label("some_wait"),
    exists().where(JobRow.state == "waiting", JobRow.priority < PRIORITY["trial"]).label("some_go_first"),
    exists().where(JobRow.state == "leased", JobRow.lease_expires_at < database_now()).label("some_are_overdue"),
    _OUT.label("is_out"),
    database_now().label("at"),
).subquery("seen")
_LOOKED_AT = len(_SEEN.c)
_LOOK = select(*_SEEN.c, *ACCOUNT).select_from(_SEEN.outerjoin(UserRow, IN_QUEUE))
"""With the accounts of those who wait for something: one question less. Without any there is one row all the same."""
_TRIAL = aliased(JobRow)
_LAST_NUMBER = (
    select(func.max(_TRIAL.trial_number))
    .where(_TRIAL.study_id == JobRow.study_id, _TRIAL.kind == "trial")
    .correlate(JobRow)
    .scalar_subquery()
)
"""Of the trials in the job's study; nothing where none was planned yet."""
_LOCKED_JOB = (
    select(JobRow, _OUT, database_now(), _LAST_NUMBER)
    .where(*ripe(database_now()))
    .with_for_update(of=JobRow, skip_locked=True)
)
# Asked at every claim: to put one together takes as long as to answer it.
_THE_JOB = _LOCKED_JOB.where(JobRow.id == bindparam("which"))
_NEXT_JOB = _LOCKED_JOB.where(JobRow.study_id == bindparam("which")).order_by(*IN_LINE).limit(1)
