"""Tells Optuna what our rows say: after every outcome, at start-up and in the sweep. Repeating it is harmless."""

from __future__ import annotations

import logging

from sqlalchemy import select, update

from service.scheduling.backend import Backend
from service.scheduling.leases import expire
from service.scheduling.submission import direction_of
from service.storage.tables import JobRow, StudyRow

__all__ = ["reconcile", "sweep", "tell"]

log = logging.getLogger(__name__)
_ENDED = ("done", "failed", "cancelled")


def tell(backend: Backend, job_id: str) -> None:
    """Tell Optuna how a trial ended, if it has ended and was not told yet."""
    with backend.reading() as session:
        job = session.get_one(JobRow, job_id)
        if job.told or job.state not in _ENDED or job.kind != "trial":
            return
        study = session.get_one(StudyRow, job.study_id)
        name, direction, number = study.optuna_study, direction_of(study.metric), job.trial_number
        value = job.value if job.state == "done" else None
    if number is None:  # cancelled while it was planned: Optuna may know of it
        found = backend.records.find(name, job_id)
        number = None if found is None else found[0]
    if number is not None:
        backend.records.ensure_study(name, direction)
        backend.records.tell(name, number, value)
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
    """What has to be done now and then: expired leases, and what Optuna was not told."""
    expired, told = expire(backend), reconcile(backend)
    if expired or told:
        log.info("sweep expired=%d told=%d", expired, told)
