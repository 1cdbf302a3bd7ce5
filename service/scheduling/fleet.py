"""Who the workers are: seen when they ask for work, until they say goodbye."""

from __future__ import annotations

from sqlalchemy import select, update

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.leases import study_of, wait_again
from service.storage.tables import JobRow, WorkerRow

__all__ = ["has_left", "leave", "saw_worker"]


def saw_worker(backend: Backend, request: ClaimRequest) -> None:
    """Note that a worker asks for work."""
    with backend.writing() as session:
        told = {"name": request.name, "device": request.device, "version": request.version}
        row = session.get(WorkerRow, request.worker)
        if row is None:
            session.add(WorkerRow(id=request.worker, last_seen_at=now(session), left=False, **told))
        else:
            row.name, row.device, row.version = request.name, request.device, request.version
            row.last_seen_at = now(session)


def has_left(backend: Backend, worker: str) -> bool:
    """Whether a worker said goodbye, and so must be given nothing."""
    with backend.reading() as session:
        return session.scalar(select(WorkerRow.left).where(WorkerRow.id == worker)) or False


def leave(backend: Backend, worker: str) -> None:
    """A worker says goodbye: what it holds is handed back, and its waiting claim ends empty-handed.

    Its id never gets another job. Repeated, or for a worker never seen, it does nothing.
    """
    with backend.writing() as session:
        session.execute(update(WorkerRow).where(WorkerRow.id == worker).values(left=True))
        Backend.ring_after(session, JOBS)
        ids = session.scalars(select(JobRow.id).where(JobRow.worker == worker, JobRow.state == "leased")).all()
    for job_id in ids:
        _take_back(backend, job_id, worker)


def _take_back(backend: Backend, job_id: str, worker: str) -> None:
    with backend.writing() as session:
        study = study_of(session, job_id)
        fence = (JobRow.id == job_id, JobRow.worker == worker, JobRow.state == "leased")
        job = session.scalars(select(JobRow).where(*fence).with_for_update()).first()
        if job is not None:
            job.attempts -= 1
            wait_again(session, study, job)
