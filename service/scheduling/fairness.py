"""Fair shares: every user's account of worker-seconds, by which the queue decides whose turn it is.

The user with the least worker-seconds for their weight goes first, those of running jobs included; what a job took is
charged in the transaction that ends its lease. Credit is not hoarded: whoever comes back after having had nothing in
the queue starts level with the least served of those who are there or, when nobody is, of those who ever were. This is
start-time fair queueing (Goyal, Vin and Cheng, 1997) with worker-seconds for packets' lengths.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, func, select, union, update
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.scheduling.priorities import PRIORITY
from service.storage.tables import JobRow, ModelRow, StudyRow, UserRow

__all__ = [
    "Account",
    "Load",
    "accounts_in",
    "charge_leases",
    "let_go",
    "load_of",
    "running_of",
    "users_in_queue",
    "welcome_back",
]

_IN_QUEUE = ("queued", "running")
_OWNER: ColumnElement[str] = func.coalesce(StudyRow.user_id, ModelRow.user_id)
"""An inspection has no study, and belongs to its model's user."""


_LEAST_SECONDS = 1.0
"""For which a job counts from its beginning, so that workers that come all at once are shared out evenly."""


@dataclass
class Load:
    """What is under lease now: jobs and worker-seconds by user, jobs by study."""

    running: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    of_study: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True)
class Account:
    """A user, as the queue sees it. ``served`` is in worker-seconds, those of running jobs included."""

    user: str
    weight: float
    max_parallel: int | None
    served: float
    running: int

    @property
    def share(self) -> float:
        """Worker-seconds for the weight: the least goes first."""
        return self.served / self.weight

    @property
    def full(self) -> bool:
        """Whether as many jobs run as may."""
        return self.max_parallel is not None and self.running >= self.max_parallel


def load_of(session: Session, at: float) -> Load:
    """What is under lease at this moment; a lease that has expired counts as long as it lasted."""
    rows = session.execute(
        select(JobRow.study_id, JobRow.leased_at, JobRow.lease_expires_at, _OWNER)
        .outerjoin(StudyRow, StudyRow.id == JobRow.study_id)
        .join(ModelRow, ModelRow.id == JobRow.model_id)
        .where(JobRow.state == "leased")
    )
    load = Load()
    for study, since, until, user in rows:
        load.running[user] += 1
        load.seconds[user] += max(_LEAST_SECONDS, _seconds(since, until, at))
        if study is not None:
            load.of_study[study] += 1
    return load


def running_of(session: Session, user: str) -> int:
    """How many jobs of a user are under lease."""
    jobs = select(func.count()).select_from(JobRow).outerjoin(StudyRow, StudyRow.id == JobRow.study_id)
    leased = jobs.join(ModelRow, ModelRow.id == JobRow.model_id).where(JobRow.state == "leased", _OWNER.in_([user]))
    return session.scalar(leased) or 0


def users_in_queue(session: Session) -> set[str]:
    """Those who have studies that are not paused and have not ended, or a model or artifact that waits for a worker."""
    studies = select(StudyRow.user_id).where(StudyRow.state.in_(_IN_QUEUE))
    inspections = select(ModelRow.user_id).join(JobRow).where(*_waiting("inspect"))
    artifacts = select(StudyRow.user_id).join(JobRow).where(*_waiting("compress"))
    return set(session.scalars(union(studies, inspections, artifacts)))


def accounts_in(session: Session, users: set[str], load: Load) -> list[Account]:
    """The accounts of these users, whose turn comes first being first."""
    rows = session.execute(
        select(UserRow.id, UserRow.weight, UserRow.max_parallel, UserRow.usage_seconds).where(UserRow.id.in_(users))
    )
    accounts = [
        Account(user, weight, most, usage + load.seconds[user], load.running[user])
        for user, weight, most, usage in rows
    ]
    return sorted(accounts, key=lambda account: (account.share, account.user))


def welcome_back(session: Session, user: str) -> None:
    """Before something of a user's is queued: what was not used while nothing was is forgone."""
    load = load_of(session, now(session))
    present = users_in_queue(session) | set(load.running)
    if user in present:
        return
    accounts = accounts_in(session, present, load)
    if accounts:
        level = accounts[0].share
    else:
        level = session.scalar(select(func.max(UserRow.usage_seconds / UserRow.weight))) or 0.0
    behind = (UserRow.id == user, UserRow.usage_seconds < level * UserRow.weight)
    session.execute(update(UserRow).where(*behind).values(usage_seconds=level * UserRow.weight))


def let_go(session: Session, job: JobRow) -> None:
    """End a job's lease, whatever comes next, and charge its user for it."""
    if job.leased_at is not None:
        owner = session.get_one(ModelRow, job.model_id) if job.study_id is None else _study(session, job.study_id)
        Backend.charge_after(session, owner.user_id, _seconds(job.leased_at, job.lease_expires_at, now(session)))
    job.done_token = job.lease_token
    job.lease_token = job.leased_at = job.lease_expires_at = None


def charge_leases(session: Session, study: StudyRow, at: float) -> None:
    """Charge for everything of a study that is under lease and is about to lose it."""
    leased = (JobRow.study_id == study.id, JobRow.state == "leased")
    for since, until in session.execute(select(JobRow.leased_at, JobRow.lease_expires_at).where(*leased)):
        Backend.charge_after(session, study.user_id, _seconds(since, until, at))


def _waiting(kind: str) -> tuple[ColumnElement[bool], ...]:
    """Jobs of this kind that wait, found through the index on their priority."""
    return JobRow.state == "waiting", JobRow.priority == PRIORITY[kind], JobRow.kind == kind


def _study(session: Session, study: str) -> StudyRow:
    return session.get_one(StudyRow, study)


def _seconds(since: float | None, until: float | None, at: float) -> float:
    """How long a lease lasted; one of a worker that vanished ended when it expired."""
    return 0.0 if since is None else max(0.0, min(at, math.inf if until is None else until) - since)
