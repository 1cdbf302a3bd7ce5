"""Tells Optuna what our rows say: after every outcome, at start-up and in the sweep. Repeating it is harmless."""

from __future__ import annotations

import logging

from sqlalchemy import select, update

from service.scheduling.backend import Backend
from service.scheduling.fleet import drop_forgotten
from service.scheduling.leases import expire
from service.scheduling.lifecycle import stop_overdue
from service.scheduling.verdicts import Goal, goal_of, result_of
from service.search.optuna_records import Ending
from service.storage.tables import JobRow, StudyRow

__all__ = ["reconcile", "sweep", "tell"]

log = logging.getLogger(__name__)
_ENDED = ("done", "pruned", "failed", "cancelled")


def tell(backend: Backend, job_id: str) -> None:
    """Tell Optuna how a trial ended, if it has ended and was not told yet."""
    with backend.reading() as session:
        job = session.get_one(JobRow, job_id)
        if job.told or job.state not in _ENDED or job.kind != "trial":
            return
        study = session.get_one(StudyRow, job.study_id)
        goal = goal_of(study)
        name, number, ending = study.optuna_study, job.trial_number, _ending(goal, job)
    if number is None:  # cancelled while it was planned: Optuna may know of it
        found = backend.records.find(name, job_id)
        number = None if found is None else found[0]
    if number is not None:
        backend.records.ensure_study(name, goal.directions)
        backend.records.tell(name, number, ending)
    with backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(told=True))


def reconcile(backend: Backend) -> int:
    """Tell everything that was not told. Returns how much that was."""
    with backend.reading() as session:
        ids = session.scalars(
            select(JobRow.id).where(JobRow.told.is_(False), JobRow.state.in_(_ENDED)).order_by(JobRow.trial_number)
        ).all()
    for job in ids:
        tell(backend, job)
    return len(ids)


def sweep(backend: Backend) -> None:
    """What has to be done now and then: for leases, studies whose time is up, what Optuna was not told, old workers."""
    expired, stopped, told, forgotten = (
        expire(backend),
        stop_overdue(backend),
        reconcile(backend),
        drop_forgotten(backend),
    )
    if expired or stopped or told or forgotten:
        log.info("sweep expired=%d stopped=%d told=%d workers_forgotten=%d", expired, stopped, told, forgotten)


def _ending(goal: Goal, job: JobRow) -> Ending:
    if job.state == "pruned":
        return Ending("pruned")
    if job.state != "done":
        return Ending("failed")
    result = result_of(job)
    bounds = {bound.word: bound.excess for bound in goal.bounds(result)}
    return Ending("complete", tuple(goal.values(result).values()), bounds)
