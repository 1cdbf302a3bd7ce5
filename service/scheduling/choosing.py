"""Which job a worker is given next. Plain reading: what is proposed here is taken, under locks, by :mod:`.taking`.

1. The user whose turn it is by fair share, unless as many jobs run for them as may.
2. Of theirs: models to inspect; then studies by priority, in each of these by kind of job, then by the study's age.
   Paused studies, those whose requirements the worker does not meet, and those that run as many jobs as they may are
   left out, as are jobs whose next attempt is not due.
3. Among studies that are equal but for their age, one whose model the worker has in memory already. The one that
   should have been next is passed over so often at most, and then goes first.

One look at each study of the users that are asked, through an index, however many jobs wait in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.backend import now
from service.scheduling.fairness import Account, Load, accounts_in, load_of, users_in_queue
from service.scheduling.fitting import Abilities, fits
from service.scheduling.priorities import PRIORITY
from service.storage.tables import JobRow, ModelRow, StudyRow

__all__ = ["PATIENCE", "Candidate", "Proposal", "candidates_of", "choose", "ripe"]

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
    """A study with a job that could be given out, and that job's place among the kinds."""

    study: str
    priority: int
    kind: int
    created_at: float
    sha256: str
    passed_over: int
    max_parallel: int | None
    requirements: dict[str, Any] | None

    @property
    def rank(self) -> tuple[int, int]:
        """Candidates of the same rank differ in their age alone. Smaller goes first."""
        return -self.priority, self.kind

    @property
    def place(self) -> tuple[int, int, float, str]:
        """In the user's queue."""
        return *self.rank, self.created_at, self.study


def choose(session: Session, worker: ClaimRequest) -> Proposal | None:
    """The proposal for a worker; None where there is nothing for it."""
    at = now(session)
    load = load_of(session, at)
    accounts = accounts_in(session, users_in_queue(session), load)
    for account in accounts:
        if account.full:
            continue
        contested = len(accounts) > 1
        inspection = _inspection(session, account.user, at)
        if inspection is not None:
            return Proposal(account, study=None, job=inspection, contested=contested)
        best = _best(candidates_of(session, account.user, at), worker, load)
        if best is not None:
            chosen, passed_over = best
            return Proposal(account, chosen.study, contested=contested, passed_over=passed_over)
    return None


def ripe(at: float) -> tuple[ColumnElement[bool], ...]:
    """Of jobs that may be claimed now."""
    return JobRow.state == "waiting", or_(JobRow.not_before.is_(None), JobRow.not_before <= at)


def candidates_of(session: Session, user: str, at: float) -> list[Candidate]:
    """The studies of a user that have a job to give out, whoever could take it, in the order of the queue."""
    first = select(JobRow.priority).where(JobRow.study_id == StudyRow.id, *ripe(at)).order_by(JobRow.priority).limit(1)
    kind = first.correlate(StudyRow).scalar_subquery()
    columns = (
        StudyRow.created_at,
        ModelRow.sha256,
        StudyRow.passed_over,
        StudyRow.max_parallel,
        StudyRow.requirements,
    )
    searching = (
        select(StudyRow.id, StudyRow.priority, kind, *columns)
        .join(ModelRow)
        .where(StudyRow.user_id == user, StudyRow.state.in_(("queued", "running")))
    )
    made = (JobRow.priority == PRIORITY["compress"], JobRow.kind == "compress", StudyRow.user_id == user)
    compressing = (
        select(StudyRow.id, StudyRow.priority, JobRow.priority, *columns)
        .join(JobRow, JobRow.study_id == StudyRow.id)
        .join(ModelRow, ModelRow.id == StudyRow.model_id)
        .where(*ripe(at), *made)
    )
    rows = [row for query in (searching, compressing) for row in session.execute(query) if row[2] is not None]
    return sorted((Candidate(*row) for row in rows), key=lambda candidate: candidate.place)


def _inspection(session: Session, user: str, at: float) -> str | None:
    jobs = select(JobRow.id).join(ModelRow).where(*ripe(at), JobRow.priority == PRIORITY["inspect"])
    mine = jobs.where(JobRow.kind == "inspect", ModelRow.user_id == user)
    return session.scalars(mine.order_by(JobRow.queued_at, JobRow.id).limit(1)).first()


def _best(candidates: Sequence[Candidate], worker: ClaimRequest, load: Load) -> tuple[Candidate, str | None] | None:
    """The one to give out, and the study that it was preferred to for its model."""
    abilities = Abilities(worker.device, worker.memory_bytes, worker.labels)
    able = [
        candidate
        for candidate in candidates
        if (candidate.max_parallel is None or load.of_study[candidate.study] < candidate.max_parallel)
        and fits(candidate.requirements, abilities)
    ]
    if not able:
        return None
    head, held = able[0], set(worker.holds)
    if not held or head.sha256 in held or head.passed_over >= PATIENCE:
        return head, None
    equals = (candidate for candidate in able if candidate.rank == head.rank)
    near = next((candidate for candidate in equals if candidate.sha256 in held), None)
    return (head, None) if near is None else (near, head.study)
