"""Fair shares: every user's account of worker-seconds, by which the queue decides whose turn it is.

The user with the least worker-seconds for their weight goes first, those of running jobs included; what a job took is
charged in the transaction that ends its lease. Credit is not hoarded: whoever comes back after having had nothing in
the queue starts level with the least served of those who are there or, when nobody is, of those who ever were. This is
start-time fair queueing (Goyal, Vin and Cheng, 1997) with worker-seconds for packets' lengths.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, func, or_, select, union, update
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.scheduling.priorities import PRIORITY
from service.scheduling.requested_kinds import REQUESTED
from service.storage.fixed_lists import one_of
from service.storage.tables import JobRow, ModelRow, StudyRow, UserRow

__all__ = [
    "ACCOUNT",
    "IN_QUEUE",
    "Account",
    "AccountRow",
    "Load",
    "accounts_with",
    "charge_leases",
    "let_go",
    "queue",
    "running_of",
    "welcome_back",
]

ACCOUNT = (UserRow.id, UserRow.weight, UserRow.max_parallel, UserRow.usage_seconds)
"""The columns of which an :class:`Account` is made."""
AccountRow = tuple[str, float, int | None, float]
_GOES_ON = ("queued", "running")
_OWNER: ColumnElement[str] = func.coalesce(StudyRow.user_id, ModelRow.user_id)
"""An inspection has no study, and belongs to its model's user."""


_LEAST_SECONDS = 1.0
"""For which a job counts from its beginning, so that workers that come all at once are shared out evenly."""


class Load:
    """What is under lease at a moment, read once it is asked for.

    A lease that has expired counts as long as it lasted.

    Args:
        session: to read it.
        at: the moment.
    """

    def __init__(self, session: Session, at: float) -> None:
        self._session = session
        self._at = at

    def running(self, user: str) -> int:
        """Of a user, the jobs."""
        return self._running[user]

    def seconds(self, user: str) -> float:
        """Of a user, the worker-seconds."""
        return self._seconds[user]

    def of_study(self, study: str) -> int:
        """Of a study, the jobs."""
        return self._of_study[study]

    def users(self) -> set[str]:
        """Those for whom something runs."""
        return set(self._running)

    @cached_property
    def _leases(self) -> Sequence[Row[str | None, float | None, float | None, str]]:
        leases = (
            select(JobRow.study_id, JobRow.leased_at, JobRow.lease_expires_at, _OWNER)
            .outerjoin(StudyRow, StudyRow.id == JobRow.study_id)
            .join(ModelRow, ModelRow.id == JobRow.model_id)
            .where(JobRow.state == "leased")
        )
        return self._session.execute(leases).all()

    @cached_property
    def _running(self) -> Counter[str]:
        return Counter(user for _, _, _, user in self._leases)

    @cached_property
    def _of_study(self) -> Counter[str]:
        return Counter(study for study, _, _, _ in self._leases if study is not None)

    @cached_property
    def _seconds(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for _, since, until, user in self._leases:
            found[user] += max(_LEAST_SECONDS, _seconds(since, until, self._at))
        return found


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


def running_of(session: Session, user: str) -> int:
    """How many jobs of a user are under lease."""
    jobs = select(func.count()).select_from(JobRow).outerjoin(StudyRow, StudyRow.id == JobRow.study_id)
    leased = jobs.join(ModelRow, ModelRow.id == JobRow.model_id).where(JobRow.state == "leased", _OWNER.in_([user]))
    return session.scalar(leased) or 0


def queue(session: Session, at: float, rows: Sequence[AccountRow] | None = None) -> tuple[list[Account], Load]:
    """The accounts of those who wait for something, whose turn comes first being first; and what is under lease.

    One alone, who may have as many jobs as there are, is not compared with anybody, and nothing is counted for that.

    Args:
        session: to read with.
        at: the moment.
        rows: the :data:`ACCOUNT` of all who are :data:`IN_QUEUE`, where they were just read with something else.
    """
    load = Load(session, at)
    if rows is None:
        rows = session.execute(_IN_QUEUE_ACCOUNTS).all()
    if len(rows) == 1 and rows[0][2] is None:
        user, weight, _, usage = rows[0]
        return [Account(user, weight, None, usage, 0)], load
    return _by_share(rows, load), load


def accounts_with(session: Session, user: str, load: Load) -> list[Account]:
    """The accounts of those who wait for something, and of this user, whose turn comes first being first."""
    return _by_share(session.execute(_accounts(_users_in_queue(), user)).all(), load)


def _users_in_queue() -> CompoundSelect[str]:
    """Those who have studies that are not paused and have not ended, or something else that waits for a worker."""
    studies = select(StudyRow.user_id).where(one_of(StudyRow.state, _GOES_ON))
    inspections = select(ModelRow.user_id).join(JobRow).where(*_waiting("inspect"))
    requested = select(StudyRow.user_id).join(JobRow).where(*_waiting(*REQUESTED))
    return union(studies, inspections, requested)


def _accounts(users: CompoundSelect[str], *more: str) -> Select[str, float, int | None, float]:
    of_them = UserRow.id.in_(users) if not more else or_(UserRow.id.in_(users), UserRow.id.in_(more))
    return select(*ACCOUNT).where(of_them)


def _by_share(rows: Iterable[AccountRow], load: Load) -> list[Account]:
    accounts = [
        Account(user, weight, most, usage + load.seconds(user), load.running(user))
        for user, weight, most, usage in rows
    ]
    return sorted(accounts, key=lambda account: (account.share, account.user))


def welcome_back(session: Session, user: str) -> None:
    """Before something of a user's is queued: what was not used while nothing was is forgone."""
    load = Load(session, now(session))
    present = set(session.scalars(_users_in_queue())) | load.users()
    if user in present:
        return
    accounts = _by_share(session.execute(_accounts(_users_in_queue(), *load.users())).all(), load)
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
    """Charge for everything of a study's search that is under lease and is about to lose it."""
    leased = (JobRow.study_id == study.id, JobRow.state == "leased", JobRow.kind.not_in(REQUESTED))
    for since, until in session.execute(select(JobRow.leased_at, JobRow.lease_expires_at).where(*leased)):
        Backend.charge_after(session, study.user_id, _seconds(since, until, at))


def _waiting(*kinds: str) -> tuple[ColumnElement[bool], ...]:
    """Jobs of these kinds, of one priority, that wait; found through the index on that."""
    return JobRow.state == "waiting", JobRow.priority == PRIORITY[kinds[0]], one_of(JobRow.kind, kinds)


def _study(session: Session, study: str) -> StudyRow:
    return session.get_one(StudyRow, study)


def _seconds(since: float | None, until: float | None, at: float) -> float:
    """How long a lease lasted; one of a worker that vanished ended when it expired."""
    return 0.0 if since is None else max(0.0, min(at, math.inf if until is None else until) - since)


# Asked at every claim: to put it together takes as long as to answer it.
IN_QUEUE: ColumnElement[bool] = UserRow.id.in_(_users_in_queue())
"""For a query's ``where`` or ``on``: the users who wait for something."""
_IN_QUEUE_ACCOUNTS = select(*ACCOUNT).where(IN_QUEUE)
