"""Who the workers are: seen when they ask for work, drained when somebody asks for it, until they say goodbye.

A worker is of use to this service where both are of the same major and minor version: within these the wire and the
numerics stay compatible, so that a fleet can be updated one machine after another for a patch, and at once otherwise.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Literal

from sqlalchemy import Select, delete, exists, select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, NotFoundError
from ranksearch.contracts.jobs import ClaimRequest
from service.access.audit import record
from service.access.principal import Principal
from service.scheduling.attempts import wait_again
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.leases import study_of
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, WorkerRow
from service.version import VERSION

__all__ = [
    "Standing",
    "admit",
    "drain",
    "drop_forgotten",
    "larger_worker_there",
    "leave",
    "out_of_work",
    "saw_worker",
    "standing_of",
    "still_there",
    "undrain",
]

log = logging.getLogger(__name__)

Standing = Literal["working", "draining", "left"]
"""What a worker may get: jobs; none for now; none ever again."""


def admit(request: ClaimRequest) -> None:
    """Let a worker of a compatible version in.

    Raises:
        ConflictError: ``worker_outdated``: it is older than this service, or newer.
    """
    own, got = _release(VERSION), _release(request.version)
    if own is None or own == got:  # None: run from a checkout that is not installed
        return
    wanted = f"{own[0]}.{own[1]}"
    raise ConflictError(
        "worker_outdated",
        f"this worker's version does not go with the service's, {VERSION}",
        got=f"version {request.version}",
        expected=f"a version {wanted}.*",
        mend=f"install ranksearch[worker] {wanted}.* on {request.name}, or use the worker image of that version",
    )


@again_when_raced
def saw_worker(backend: Backend, request: ClaimRequest) -> None:
    """Note that a worker asks for work, and what it says of itself. Writes what is new, or was said a while ago."""
    if not backend.sightings.is_news(request):
        return
    told = request.model_dump(
        mode="json", include={"name", "device", "version", "labels", "holds", "memory_bytes", "sandbox"}
    )
    try:
        with backend.writing() as session:
            row = session.get(WorkerRow, request.worker)
            if row is None:
                session.add(WorkerRow(id=request.worker, last_seen_at=now(session), **told))
                return
            for name, value in told.items():
                setattr(row, name, value)
            row.last_seen_at = now(session)
    except BaseException:
        backend.sightings.forget(request.worker)
        raise


@again_when_raced
def still_there(backend: Backend, workers: Collection[str]) -> None:
    """Note that workers which have said nothing since they asked for work wait for it; in one statement."""
    present = select(WorkerRow.id).where(WorkerRow.id.in_(workers)).order_by(WorkerRow.id)
    with backend.writing() as session:
        # Whoever has locked one of them is writing down the same.
        ids = session.scalars(present.with_for_update(skip_locked=True)).all()
        session.execute(update(WorkerRow).where(WorkerRow.id.in_(ids)).values(last_seen_at=now(session)))


def standing_of(backend: Backend, worker: str) -> Standing:
    """Whether a worker may be given jobs."""
    with backend.reading() as session:
        return out_of_work(session, [worker]).get(worker, "working")


def out_of_work(session: Session, workers: Collection[str]) -> dict[str, Literal["draining", "left"]]:
    """Those of these workers that may be given none, and why."""
    out = select(WorkerRow.id, WorkerRow.left).where(WorkerRow.id.in_(workers), WorkerRow.left | WorkerRow.draining)
    return {worker: "left" if left else "draining" for worker, left in session.execute(out)}


def drain(backend: Backend, caller: Principal, worker: str) -> None:
    """Have a worker finish what it does and take no more. Repeated, it does nothing.

    Raises:
        NotFoundError: ``worker_not_found``.
    """
    _set_draining(backend, caller, worker, draining=True)


def undrain(backend: Backend, caller: Principal, worker: str) -> None:
    """Let a worker take jobs again. Repeated, or where it was not drained, it does nothing.

    Raises:
        NotFoundError: ``worker_not_found``.
    """
    _set_draining(backend, caller, worker, draining=False)


@again_when_raced
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


def larger_worker_there(session: Session, away_seconds: float, memory_bytes: int) -> bool:
    """Whether a worker that takes jobs has more memory than this, so that what was too large may fit there."""
    present = WorkerRow.last_seen_at >= now(session) - away_seconds
    takes_jobs = (present, WorkerRow.left.is_(False), WorkerRow.draining.is_(False))
    return session.scalar(select(exists().where(*takes_jobs, WorkerRow.memory_bytes > memory_bytes))) or False


def drop_forgotten(backend: Backend) -> int:
    """Drop workers that have been away for long from the list. Returns how many there were."""
    with backend.reading() as session:
        if not session.scalar(select(_forgotten(session, backend).exists())):
            return 0
    with backend.writing() as session:
        ids = session.scalars(_forgotten(session, backend)).all()
        session.execute(delete(WorkerRow).where(WorkerRow.id.in_(ids)))
    for worker in ids:
        backend.sightings.forget(worker)
    return len(ids)


def _forgotten(session: Session, backend: Backend) -> Select[str]:
    before = now(session) - backend.settings.worker_forget_seconds
    at_work = exists().where(JobRow.worker == WorkerRow.id, JobRow.state == "leased")
    return select(WorkerRow.id).where(WorkerRow.last_seen_at < before, ~at_work)


def _release(version: str) -> tuple[int, int] | None:
    """Major and minor; None for what names none, such as ``0+unknown``."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def _set_draining(backend: Backend, caller: Principal, worker: str, *, draining: bool) -> None:
    with backend.writing() as session:
        row = session.get(WorkerRow, worker)
        if row is None:
            raise NotFoundError(
                "worker_not_found", "there is no such worker", got=worker, mend="ranksearch workers lists them"
            )
        if row.draining is draining:
            return
        row.draining = draining
        record(session, caller, "worker.drain" if draining else "worker.undrain", worker, name=row.name)
        Backend.ring_after(session, JOBS)  # a claim that waits is to hear of it
    log.info("worker=%s draining=%s", worker, draining)


def _take_back(backend: Backend, job_id: str, worker: str) -> None:
    with backend.writing() as session:
        study = study_of(session, job_id)
        fence = (JobRow.id == job_id, JobRow.worker == worker, JobRow.state == "leased")
        job = session.scalars(select(JobRow).where(*fence).with_for_update()).first()
        if job is not None:
            job.attempts -= 1
            wait_again(session, study, job)
