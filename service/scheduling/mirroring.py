"""Tells Optuna what our rows say: a moment after each change, at start-up, now and then. Repeating it is harmless.

A trial is written when it is planned and again when it has ended; one that ended in between is written once, whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, tuple_, update
from sqlalchemy.orm import Session

from ranksearch.contracts.profiles import Cost
from service.scheduling.backend import Backend
from service.scheduling.planning import space_of_study
from service.scheduling.verdicts import Goal, goal_of, result_of
from service.search.optuna_records import Ending, PlannedTrial
from service.storage.tables import JobRow, StudyRow

__all__ = ["mirror"]

_RUNS = ("waiting", "leased")
_AT_ONCE = 500


def mirror(backend: Backend) -> int:
    """Tell everything that Optuna does not know yet. Returns how many trials that were.

    One at a time: of two, the slower could tell what it read before the other did, and have a trial run that ended.
    """
    with backend.reading() as session:
        if session.scalars(select(JobRow.id).where(*_news()).limit(1)).first() is None:
            return 0
    with backend.alone("mirror"):
        with backend.reading() as session:
            studies = session.scalars(select(JobRow.study_id).where(*_news()).distinct()).all()
        return sum(_mirror_study(backend, study) for study in studies if study is not None)


def _mirror_study(backend: Backend, study_id: str) -> int:
    count = 0
    while True:
        with backend.reading() as session:
            study = session.get(StudyRow, study_id)
            if study is None:  # deleted meanwhile
                return count
            news = select(JobRow).where(*_news(), JobRow.study_id == study_id)
            jobs = session.scalars(news.order_by(JobRow.trial_number).limit(_AT_ONCE)).all()
            if not jobs:
                return count
            goal, name = goal_of(study), study.optuna_study
            trials = [_planned(goal, job) for job in jobs]
            space = space_of_study(session, backend, study)
        backend.records.mirror(name, goal.directions, space, trials)
        with backend.writing() as session:
            _told(session, jobs)
        count += len(jobs)
        if len(jobs) < _AT_ONCE:  # what happened meanwhile is told with what happens next
            return count


def _news() -> tuple[ColumnElement[bool], ...]:
    return (JobRow.told.is_(False), JobRow.kind == "trial", JobRow.trial_number.is_not(None))


def _told(session: Session, jobs: Sequence[JobRow]) -> None:
    """Note what Optuna knows now. A trial that has ended since it was read, or has ended anew, is news again."""
    running = [job.id for job in jobs if job.state in _RUNS]
    ended = [(job.id, job.state, job.finished_at) for job in jobs if job.state not in _RUNS]
    told = update(JobRow).values(told=True)
    if running:
        session.execute(told.where(JobRow.id.in_(running), JobRow.state.in_(_RUNS)))
    if ended:
        session.execute(told.where(tuple_(JobRow.id, JobRow.state, JobRow.finished_at).in_(ended)))


def _planned(goal: Goal, job: JobRow) -> PlannedTrial:
    return PlannedTrial(
        number=job.trial_number or 0,
        job=job.id,
        origin=job.origin or "sampler",
        positions=job.positions or [],
        ranks=job.ranks or {},
        cost=Cost(macs=job.planned_macs or 0, params=job.planned_params or 0),
        started_at=job.started_at,
        ended_at=job.finished_at,
        ending=None if job.state in _RUNS else _ending(goal, job),
    )


def _ending(goal: Goal, job: JobRow) -> Ending:
    if job.state == "pruned":
        return Ending("pruned")
    if job.state != "done":
        return Ending("failed")
    result = result_of(job)
    bounds = {bound.word: bound.excess for bound in goal.bounds(result)}
    return Ending("complete", tuple(goal.values(result).values()), bounds)
