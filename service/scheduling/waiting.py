"""Why nothing moves, when nothing moves."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.storage.tables import JobRow, ModelRow, StudyRow, WorkerRow

__all__ = ["why_model_waits", "why_study_waits"]


def why_model_waits(session: Session, backend: Backend, model: ModelRow) -> str | None:
    """Why an inspection is not moving; None when it is, or when there is none."""
    if model.state != "inspecting":
        return None
    return _why(session, backend, JobRow.model_id == model.id, JobRow.kind == "inspect")


def why_study_waits(session: Session, backend: Backend, study: StudyRow) -> str | None:
    """Why a study, or its artifact, is not moving; None when it is, or when all is done."""
    if study.state == "paused":
        return f"{study.pause_reason or 'paused'}; to go on: `ranksearch resume {study.id}`"
    return _why(session, backend, JobRow.study_id == study.id)


def _why(session: Session, backend: Backend, *jobs: object) -> str | None:
    rows = session.execute(
        select(JobRow.state, func.count())
        .where(*jobs, JobRow.state.in_(("waiting", "leased")))  # type: ignore[arg-type]  # SQL expressions
        .group_by(JobRow.state)
    )
    counts = {state: count for state, count in rows}  # noqa: C416 - mypy cannot see that rows are pairs
    if not counts.get("waiting") or counts.get("leased"):
        return None
    seen = WorkerRow.last_seen_at >= now(session) - backend.settings.worker_away_seconds
    present = (
        select(func.count())
        .select_from(WorkerRow)
        .where(seen, WorkerRow.left.is_(False), WorkerRow.draining.is_(False))
    )
    workers = session.scalar(present) or 0
    if workers == 0:
        url = backend.public_url or "URL"
        return f"no worker is connected: start one with `ranksearch worker --url {url} --token …`"
    busy = session.scalar(select(func.count(JobRow.worker.distinct())).where(JobRow.state == "leased")) or 0
    if busy >= workers:
        return f"all workers that are connected ({workers}) are busy with other work"
    return None
