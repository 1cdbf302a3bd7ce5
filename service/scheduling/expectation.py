"""When a study will probably have made its last trial."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.scheduling.backend import now
from service.storage.clock import moment
from service.storage.tables import JobRow, StudyRow

__all__ = ["expected_end"]

_LATEST = 30
"""Trials whose pace counts: so many that one slow one says little, so few that a worker more or less is soon seen."""
_LEAST = 3


def expected_end(session: Session, study: StudyRow, left: int) -> datetime | None:
    """At the pace of its latest trials, and no later than its timeout; None where it does not run or has no pace yet.

    ``left`` trials wait or run.

    With n ends, the latest t, the earliest t0 of them, and the present s, the pace is (n - 1) / (t - t0), or
    n / (s - t0) where that is less: once nothing has ended for longer than usual the end moves away.
    """
    if study.state != "running" or not left:
        return None
    of_it = (JobRow.study_id == study.id, JobRow.kind == "trial")
    ended = JobRow.state.in_(("done", "pruned", "failed"))
    latest = select(JobRow.finished_at).where(*of_it, ended).order_by(JobRow.finished_at.desc()).limit(_LATEST)
    ends = [at for at in session.scalars(latest) if at is not None]
    if len(ends) < _LEAST:
        return None
    at = now(session)
    seconds = left * max((ends[0] - ends[-1]) / (len(ends) - 1), (at - ends[-1]) / len(ends))
    timeout: float | None = study.request.get("timeout")
    if timeout is not None and study.started_at is not None:
        seconds = min(seconds, max(0.0, study.started_at + study.paused_seconds + timeout - at))
    return moment(at + seconds)
