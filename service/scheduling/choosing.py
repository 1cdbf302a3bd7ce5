"""Which job a worker is given next. Plain reading: what is proposed here is taken, under locks, by :mod:`.taking`.

1. The user whose turn it is by fair share, unless as many jobs run for them as may.
2. Of theirs: models to inspect; then studies by priority, in each of these by kind of job, then by the study's age.
   Paused studies, those whose requirements the worker does not meet, and those that run as many jobs as they may are
   left out, as are jobs whose next attempt is not due.
3. Among studies that are equal but for their age, one whose model the worker has in memory already. The one that
   should have been next is passed over so often at most, and then goes first.

No job is looked at that is not nearly given out: what goes before new trials is found through the index on that, and
trials through the index on their study, study by study in the order of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.backend import now
from service.scheduling.fairness import Account, AccountRow, Load, queue
from service.scheduling.fitting import Abilities, fits
from service.scheduling.priorities import PRIORITY
from service.scheduling.requested_kinds import LATENCY, REQUESTED
from service.storage.fixed_lists import one_of
from service.storage.tables import JobRow, ModelRow, StudyRow

__all__ = ["IN_LINE", "PATIENCE", "Candidate", "Proposal", "choose", "ripe"]

IN_LINE = (JobRow.priority, JobRow.ordinal, JobRow.id)
"""The order in which one study's jobs are given out."""

_AT_ONCE = 16
"""Studies whose waiting trials are looked for in one query."""

PATIENCE = 8
"""So often a study is passed over for others whose model is in a worker's memory."""


@dataclass(frozen=True)
class Proposal:
    """What a worker should be given.

    Args:
        account: of the user whose turn it is, as it was.
        study: id; None for an inspection.
        job: id of the inspection.
        contested: whether other users have work, too, so that the order among them matters.
        passed_over: the study that would have been next, had the worker held its model.
    """

    account: Account
    study: str | None
    job: str | None = None
    contested: bool = False
    passed_over: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A study that may have a job for the worker."""

    study: str
    priority: int
    created_at: float
    sha256: str
    passed_over: int
    max_parallel: int | None
    requirements: dict[str, Any] | None


def choose(
    session: Session,
    worker: ClaimRequest,
    *,
    only_trials: bool = False,
    waiting: Sequence[AccountRow] | None = None,
) -> Proposal | None:
    """The proposal for a worker; None where there is nothing for it.

    Args:
        session: to read with.
        worker: what it is and may do.
        only_trials: nothing that goes before new trials waits, as far as the caller saw.
        waiting: the accounts of those who wait for something, where the caller has just read them.
    """
    at = now(session)
    accounts, load = queue(session, at, waiting)
    for account in accounts:
        if account.full:
            continue
        contested = len(accounts) > 1
        urgent = {} if only_trials else _urgent(session, account.user, at)
        if None in urgent:
            inspection = _inspection(session, account.user, at)
            return Proposal(account, study=None, job=inspection, contested=contested)
        line = _line(session, account.user, None if only_trials else at)
        best = _best(session, line, worker, load, at, urgent)
        if best is not None:
            study, passed_over = best
            return Proposal(account, study, contested=contested, passed_over=passed_over)
    return None


def ripe(at: float | ColumnElement[float]) -> tuple[ColumnElement[bool], ...]:
    """Of jobs that may be claimed now."""
    return JobRow.state == "waiting", or_(JobRow.not_before.is_(None), JobRow.not_before <= at)


def _inspection(session: Session, user: str, at: float) -> str | None:
    jobs = select(JobRow.id).join(ModelRow).where(*ripe(at), JobRow.priority == PRIORITY["inspect"])
    mine = jobs.where(JobRow.kind == "inspect", ModelRow.user_id == user)
    return session.scalars(mine.order_by(JobRow.queued_at, JobRow.id).limit(1)).first()


def _best(
    session: Session,
    line: Sequence[Candidate],
    worker: ClaimRequest,
    load: Load,
    at: float,
    urgent: Mapping[str | None, int],
) -> tuple[str, str | None] | None:
    """The study of a user's line to serve, and the one that it was preferred to because the worker holds its model.

    Most studies are never looked at: of equal priority, those with something more urgent than new trials come first,
    and these are few; else the first in line with a trial to give out does.
    """
    abilities = Abilities(worker.device, worker.memory_bytes, worker.labels)
    able = [
        candidate
        for candidate in line
        if (candidate.max_parallel is None or load.of_study(candidate.study) < candidate.max_parallel)
        and fits(candidate.requirements, abilities)
    ]
    held = set(worker.holds)
    for _, group in groupby(able, key=lambda candidate: candidate.priority):
        equals = list(group)
        first = min((urgent[one.study] for one in equals if one.study in urgent), default=None)
        if first is not None:
            equals = [one for one in equals if urgent.get(one.study) == first]
            head: Candidate | None = equals[0]
        else:
            equals = [one for one in equals if one.study not in urgent]
            head = _first_with_a_trial(session, equals, at)
        if head is None:
            continue
        if not held or head.sha256 in held or head.passed_over >= PATIENCE:
            return head.study, None
        near = [one for one in equals if one.sha256 in held]
        nearest = next(iter(near), None) if first is not None else _first_with_a_trial(session, near, at)
        return (head.study, None) if nearest is None else (nearest.study, head.study)
    return None


def _line(session: Session, user: str, at: float | None) -> list[Candidate]:
    """The user's studies that search, or of whose trials something was asked for, by priority and age.

    Args:
        session: to read with.
        user: whose.
        at: the moment; None where nothing that was asked for waits, which goes before new trials.
    """
    asked = (_SEARCHING, {"user": user}) if at is None else (_LINE, {"user": user, "at": at})
    rows = session.connection().execute(*asked)
    line = {row[0]: Candidate(*row) for row in rows}  # of one that searches, something may be asked for, too
    return sorted(line.values(), key=lambda one: (-one.priority, one.created_at, one.study))


def _urgent(session: Session, user: str, at: float) -> dict[str | None, int]:
    """By study, the first of what goes before new trials and can be given out; None stands for the inspections."""
    rows = session.execute(_URGENT, {"user": user, "at": at})
    return {study: kind for study, kind in rows}  # noqa: C416 - mypy cannot see that rows are pairs


def _first_with_a_trial(session: Session, line: Sequence[Candidate], at: float) -> Candidate | None:
    """The first that has one to give out. Each is looked up through an index, some at a time."""
    for start in range(0, len(line), _AT_ONCE):
        some = line[start : start + _AT_ONCE]
        found = set(session.connection().scalars(_WITH_A_TRIAL, {"studies": [one.study for one in some], "at": at}))
        if found:
            return next(one for one in some if one.study in found)
    return None


def _made_lines() -> tuple[Executable, Executable]:
    """The studies that search; and with those of whose trials something was asked for."""
    columns = (
        StudyRow.id,
        StudyRow.priority,
        StudyRow.created_at,
        func.coalesce(ModelRow.document, ModelRow.sha256),
        StudyRow.passed_over,
        StudyRow.max_parallel,
        StudyRow.requirements,
    )
    mine = select(*columns).join(ModelRow, ModelRow.id == StudyRow.model_id).where(StudyRow.user_id == _USER)
    searching = mine.where(one_of(StudyRow.state, ("queued", "running")))
    made = (*ripe(_AT), JobRow.priority == PRIORITY[LATENCY], one_of(JobRow.kind, REQUESTED))
    requested = mine.join(JobRow, JobRow.study_id == StudyRow.id).where(*made)
    return searching, union_all(searching, requested)


def _made_urgent() -> Select[str | None, int]:
    jobs = (
        select(JobRow.study_id, func.min(JobRow.priority))
        .join(ModelRow, ModelRow.id == JobRow.model_id)
        .outerjoin(StudyRow, StudyRow.id == JobRow.study_id)
    )
    mine = or_(StudyRow.user_id == _USER, and_(JobRow.study_id.is_(None), ModelRow.user_id == _USER))
    return jobs.where(*ripe(_AT), JobRow.priority < PRIORITY["trial"], mine).group_by(JobRow.study_id)


# Asked at every claim: to put such a query together takes as long as to answer it.
_AT, _USER = bindparam("at", type_=Double), bindparam("user", type_=String)
(_SEARCHING, _LINE), _URGENT = _made_lines(), _made_urgent()
_WITH_A_TRIAL = select(StudyRow.id).where(
    StudyRow.id.in_(bindparam("studies", expanding=True)),
    exists().where(JobRow.study_id == StudyRow.id, *ripe(_AT)).correlate(StudyRow),
)
