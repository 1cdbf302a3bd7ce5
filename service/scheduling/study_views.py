"""Many studies as their readers see them, with about as few questions to the database as one needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ranksearch.contracts.studies import Study
from service.scheduling.backend import Backend
from service.scheduling.expectation import expected_end
from service.scheduling.views import Tally, study_view
from service.scheduling.waiting import Circumstances, why_study_waits
from service.storage.tables import JobRow, StudyRow

__all__ = ["study_views"]


def study_views(session: Session, backend: Backend, rows: Sequence[StudyRow]) -> list[Study]:
    """The studies, with why they do not move where they do not, and when they will probably end where they do."""
    if not rows:
        return []
    tallies, circumstances = _tallies(session, rows), Circumstances(session, backend)
    best = _best_trials(session, rows)
    views = [_view(session, row, tallies[row.id], circumstances) for row in rows]
    del best  # until here: a session does not keep what nobody else does
    return views


def _view(session: Session, row: StudyRow, tally: Tally, circumstances: Circumstances) -> Study:
    why = why_study_waits(session, circumstances, row, tally)
    left = sum(tally.jobs.get(("trial", state), 0) for state in ("waiting", "leased"))
    expected = None if why is not None else expected_end(session, row, left)
    view = study_view(session, row, why, tally)
    return view.model_copy(update={"expected_at": expected, "last_event": row.last_event})


def _tallies(session: Session, rows: Sequence[StudyRow]) -> dict[str, Tally]:
    """By study; see :func:`service.scheduling.views.tally_of`."""
    ids = [row.id for row in rows]
    jobs: defaultdict[str | None, dict[tuple[str, str], int]] = defaultdict(dict)
    counts = select(JobRow.study_id, JobRow.kind, JobRow.state, func.count()).where(JobRow.study_id.in_(ids))
    for study, kind, state, count in session.execute(counts.group_by(JobRow.study_id, JobRow.kind, JobRow.state)):
        jobs[study][kind, state] = count
    cancelled = [study for study, of_it in jobs.items() if ("trial", "cancelled") in of_it]
    cut_short: dict[str | None, int] = {}
    if cancelled:
        trials = (JobRow.study_id.in_(cancelled), JobRow.kind == "trial", JobRow.state == "cancelled")
        planned = select(JobRow.study_id, func.count()).where(*trials, JobRow.trial_number.is_not(None))
        cut_short = {study: count for study, count in session.execute(planned.group_by(JobRow.study_id))}  # noqa: C416 - mypy cannot see that rows are pairs
    return {study: Tally(jobs[study], cut_short.get(study, 0)) for study in ids}


def _best_trials(session: Session, rows: Sequence[StudyRow]) -> list[JobRow]:
    """What the views look up one by one, read at once."""
    best = {row.best_job for row in rows if row.best_job is not None}
    return list(session.scalars(select(JobRow).where(JobRow.id.in_(best)))) if best else []
