"""What workers are doing, since when, and how busy they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from ranksearch.contracts.resources import Worker
from service.scheduling.backend import now
from service.storage.clock import moment
from service.storage.tables import JobRow, StudyRow

__all__ = ["with_workloads"]

_WINDOW: Final = 600.0
_FIRST: Final = JobRow.attempts == 1
"""Of a job that several workers had, the time of the last one alone is known to nobody: it is left out."""


def with_workloads(session: Session, workers: Sequence[Worker]) -> list[Worker]:
    """The workers, with what the jobs tell that they have and had.

    Args:
        session: a transaction.
        workers: of whose jobs those are told that their reader may see.
    """
    at = now(session)
    since = at - _WINDOW
    ids = [worker.id for worker in workers]
    seconds = _seconds_of_ended(session, ids, since)
    present: dict[str, tuple[float, dict[str, Any]]] = {}
    leased = (JobRow.state == "leased", JobRow.worker.in_(ids))
    query = select(JobRow.worker, JobRow.leased_at, JobRow.kind, StudyRow.name).outerjoin(StudyRow)
    for holder, leased_at, kind, name in session.execute(query.where(*leased)):
        began = at if leased_at is None else leased_at
        present[holder or ""] = (began, {"task": kind, "study_name": name, "since": moment(began)})
    told = []
    for worker in workers:
        began, doing = present.get(worker.id, (at, {}))
        share = (seconds.get(worker.id, 0.0) + at - max(began, since)) / _WINDOW
        news: dict[str, Any] = {"busy_share": min(1.0, max(0.0, share))}
        told.append(worker.model_copy(update=news | (doing if worker.job is not None else {})))
    return told


def _seconds_of_ended(session: Session, workers: Sequence[str], since: float) -> dict[str, float]:
    """By worker, how many of the seconds since then the jobs took that have ended since then."""
    began = case((JobRow.started_at > since, JobRow.started_at), else_=since)
    lately = (JobRow.worker.in_(workers), JobRow.finished_at > since, JobRow.started_at.is_not(None), _FIRST)
    query = select(JobRow.worker, func.sum(JobRow.finished_at - began)).where(*lately).group_by(JobRow.worker)
    return {worker: float(total or 0) for worker, total in session.execute(query) if worker is not None}
