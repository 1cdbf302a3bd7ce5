"""Why nothing moves, when nothing moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.scheduling.choosing import ripe
from service.scheduling.fairness import Load, accounts_with
from service.scheduling.fitting import Abilities, unmet
from service.storage.tables import JobRow, ModelRow, StudyRow, WorkerRow

__all__ = ["why_model_waits", "why_study_waits"]


def why_model_waits(session: Session, backend: Backend, model: ModelRow) -> str | None:
    """Why an inspection is not moving; None when it is, or when there is none."""
    if model.state != "inspecting":
        return None
    jobs = JobRow.model_id == model.id, JobRow.kind == "inspect"
    if not _stands_still(session, *jobs):
        return None
    return _why(session, backend, jobs, model.user_id, None)


def why_study_waits(session: Session, backend: Backend, study: StudyRow) -> str | None:
    """Why a study, or its artifact, is not moving; None when it is, or when all is done."""
    if study.state == "paused":
        return f"{study.pause_reason or 'paused'}; to go on: `ranksearch resume {study.id}`"
    jobs = (JobRow.study_id == study.id,)
    if not _stands_still(session, *jobs):
        return None
    why = _why(session, backend, jobs, study.user_id, study)
    return why if why is None or not study.failures_in_row else f"{why}; {_failing(session, study)}"


def _stands_still(session: Session, *jobs: ColumnElement[bool]) -> bool:
    rows = session.execute(
        select(JobRow.state, func.count()).where(*jobs, JobRow.state.in_(("waiting", "leased"))).group_by(JobRow.state)
    )
    counts = {state: count for state, count in rows}  # noqa: C416 - mypy cannot see that rows are pairs
    return bool(counts.get("waiting")) and not counts.get("leased")


def _why(
    session: Session, backend: Backend, jobs: Sequence[ColumnElement[bool]], user: str, study: StudyRow | None
) -> str | None:
    at = now(session)
    workers = _present(session, backend, at)
    if not workers:
        url = backend.public_url or "URL"
        return f"no worker is connected: start one with `ranksearch worker --url {url} --token …`"
    lacking = {name: unmet(None if study is None else study.requirements, able) for name, able in workers.items()}
    fitting = {name for name, missing in lacking.items() if not missing}
    if not fitting:
        return _none_fits(lacking)
    if session.scalars(select(JobRow.id).where(*jobs, *ripe(at)).limit(1)).first() is None:
        return _until_due(session, jobs, at)
    accounts = accounts_with(session, user, Load(session, at))
    place = next(place for place, account in enumerate(accounts) if account.user == user)
    if accounts[place].full:
        return f"as many jobs run for its owner as may: {accounts[place].max_parallel}"
    busy = set(session.scalars(select(JobRow.worker).where(JobRow.state == "leased").distinct()))
    if not fitting <= busy:
        return None
    ahead = [account for account in accounts[:place] if not account.full]
    return f"{_all_busy(len(fitting), len(workers))}{_whose_turn(session, len(ahead), study)}"


def _present(session: Session, backend: Backend, at: float) -> dict[str, Abilities]:
    """What the workers that take jobs told of themselves, by id."""
    seen = WorkerRow.last_seen_at >= at - backend.settings.worker_away_seconds
    rows = session.execute(
        select(WorkerRow.id, WorkerRow.device, WorkerRow.memory_bytes, WorkerRow.labels).where(
            seen, WorkerRow.left.is_(False), WorkerRow.draining.is_(False)
        )
    )
    return {name: Abilities(device, memory, labels) for name, device, memory, labels in rows}


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
