"""Why nothing moves, when nothing moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.scheduling.choosing import ripe
from service.scheduling.fairness import Account, Load, accounts_with
from service.scheduling.fitting import Abilities, unmet
from service.scheduling.views import Tally
from service.storage.tables import JobRow, ModelRow, StudyRow, WorkerRow

__all__ = ["Circumstances", "why_model_waits", "why_study_waits"]


class Circumstances:
    """What all that waits at a moment has in common: each asked for once, and not before it matters.

    Args:
        session: a transaction.
        backend: the stores.
    """

    def __init__(self, session: Session, backend: Backend) -> None:
        self._session = session
        self._backend = backend
        self._accounts: dict[str, list[Account]] = {}

    @property
    def url(self) -> str:
        """Where workers find the service."""
        return self._backend.public_url or "URL"

    @cached_property
    def at(self) -> float:
        """The moment, by the database's clock."""
        return now(self._session)

    @cached_property
    def workers(self) -> dict[str, Abilities]:
        """What the workers that take jobs told of themselves, by id."""
        seen = WorkerRow.last_seen_at >= self.at - self._backend.settings.worker_away_seconds
        present = (seen, WorkerRow.left.is_(False), WorkerRow.draining.is_(False))
        query = select(WorkerRow.id, WorkerRow.device, WorkerRow.memory_bytes, WorkerRow.labels).where(*present)
        return {
            name: Abilities(device, memory, labels) for name, device, memory, labels in self._session.execute(query)
        }

    @cached_property
    def busy(self) -> set[str | None]:
        """The workers that have a job."""
        return set(self._session.scalars(select(JobRow.worker).where(JobRow.state == "leased").distinct()))

    def accounts(self, user: str) -> list[Account]:
        """Of those who wait for something, and of this user; whose turn comes first is first."""
        if user not in self._accounts:
            self._accounts[user] = accounts_with(self._session, user, self._load)
        return self._accounts[user]

    @cached_property
    def _load(self) -> Load:
        return Load(self._session, self.at)


def why_model_waits(session: Session, backend: Backend, model: ModelRow) -> str | None:
    """Why an inspection is not moving; None when it is, or when there is none."""
    if model.state != "inspecting":
        return None
    jobs = JobRow.model_id == model.id, JobRow.kind == "inspect"
    states = set(session.scalars(select(JobRow.state).where(*jobs).distinct()))
    if not _stand_still(states):
        return None
    return _why(session, Circumstances(session, backend), jobs, model.user_id, None)


def why_study_waits(session: Session, circumstances: Circumstances, study: StudyRow, tally: Tally) -> str | None:
    """Why a study, or its artifact, is not moving; None when it is, or when all is done."""
    if study.state == "paused":
        return f"{study.pause_reason or 'paused'}; to go on: `ranksearch resume {study.id}`"
    if not _stand_still({state for _, state in tally.jobs}):
        return None
    why = _why(session, circumstances, (JobRow.study_id == study.id,), study.user_id, study)
    return why if why is None or not study.failures_in_row else f"{why}; {_failing(session, study)}"


def _stand_still(states: set[str]) -> bool:
    """Whether jobs that are in these states wait, and none of them runs."""
    return "waiting" in states and "leased" not in states


def _why(
    session: Session,
    circumstances: Circumstances,
    jobs: Sequence[ColumnElement[bool]],
    user: str,
    study: StudyRow | None,
) -> str | None:
    workers = circumstances.workers
    if not workers:
        return f"no worker is connected: start one with `ranksearch worker --url {circumstances.url} --token …`"
    lacking = {name: unmet(None if study is None else study.requirements, able) for name, able in workers.items()}
    fitting = {name for name, missing in lacking.items() if not missing}
    if not fitting:
        return _none_fits(lacking)
    if session.scalars(select(JobRow.id).where(*jobs, *ripe(circumstances.at)).limit(1)).first() is None:
        return _until_due(session, jobs, circumstances.at)
    accounts = circumstances.accounts(user)
    place = next(place for place, account in enumerate(accounts) if account.user == user)
    if accounts[place].full:
        return f"as many jobs run for its owner as may: {accounts[place].max_parallel}"
    if not fitting <= circumstances.busy:
        return None
    ahead = [account for account in accounts[:place] if not account.full]
    return f"{_all_busy(len(fitting), len(workers))}{_whose_turn(session, len(ahead), study)}"


def _none_fits(lacking: dict[str, list[str]]) -> str:
    """Which requirement how many workers fail, the one that most of them do being first."""
    counts = Counter(missing for worker in lacking.values() for missing in worker)
    words = ", ".join(f"{missing} is lacking on {count}" for missing, count in counts.most_common())
    return f"no worker that fits is connected: of {len(lacking)}, {words}"


def _until_due(session: Session, jobs: Sequence[ColumnElement[bool]], at: float) -> str:
    waiting = select(JobRow.not_before, JobRow.problem).where(*jobs, JobRow.state == "waiting")
    due, problem = session.execute(waiting.order_by(JobRow.not_before).limit(1)).one()
    last: dict[str, Any] = problem or {}
    words = f"its next attempt is due in {max(0.0, (due or at) - at):.0f} s"
    return f"{words}, after: {last['detail']}" if "detail" in last else words


def _all_busy(fitting: int, present: int) -> str:
    which = "that are connected" if fitting == present else "that fit"
    return f"all workers {which} ({fitting}) are busy with other work"


def _whose_turn(session: Session, users: int, study: StudyRow | None) -> str:
    """Who goes first when one of them is free."""
    if users:
        return f"; by fair share {users} other user{'s go' if users > 1 else ' goes'} first"
    if study is None:
        return ""
    first = or_(
        StudyRow.priority > study.priority,
        and_(StudyRow.priority == study.priority, StudyRow.created_at < study.created_at),
    )
    mine = (StudyRow.user_id == study.user_id, StudyRow.state.in_(("queued", "running")), first)
    count = session.scalar(select(func.count()).select_from(StudyRow).where(*mine)) or 0
    return f"; {count} earlier or more urgent stud{'ies' if count > 1 else 'y'} of its owner first" if count else ""


def _failing(session: Session, study: StudyRow) -> str:
    failed = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "failed")
    last = session.scalars(select(JobRow.problem).where(*failed).order_by(JobRow.finished_at.desc()).limit(1)).first()
    trials = "trial" if study.failures_in_row == 1 else f"{study.failures_in_row} trials"
    return f"its last {trials} failed, with: {(last or {}).get('detail', 'no reason given')}"
