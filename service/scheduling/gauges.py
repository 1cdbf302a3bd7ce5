"""What the database says at the moment of a scrape: the queue, the fleet, the studies, the blobs.

One snapshot serves the scrapes of some seconds, however many come. Every replica of a service tells the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, get_args

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import case, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from ranksearch.contracts.resources import WorkerState
from ranksearch.contracts.studies import StudyState
from service.scheduling.backend import Backend, now
from service.scheduling.requested_kinds import REQUESTED
from service.storage.tables import BlobRow, JobRow, StudyRow, WorkerRow

__all__ = ["KINDS", "DatabaseGauges"]

log = logging.getLogger(__name__)

KINDS: Final = ("inspect", "baseline", "sensitivity", "trial", "final", *REQUESTED)
_FRESH_SECONDS: Final = 2.0


@dataclass
class _Snapshot:
    """``waiting``, ``delayed`` and ``leased`` are by kind; ``workers`` and ``studies`` by state."""

    waiting: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    delayed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    leased: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    oldest: float = 0.0
    workers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(WorkerState), 0))
    studies: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(StudyState), 0))
    blobs: int = 0
    blob_bytes: int = 0


class DatabaseGauges(Collector):
    """A collector of prometheus-client. A database that does not answer costs its gauges, never the scrape.

    Args:
        backend: whose database.
        fresh_seconds: for how long a snapshot is told again.
    """

    def __init__(self, backend: Backend, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._backend = backend
        self._fresh = fresh_seconds
        self._lock = threading.Lock()
        self._taken = float("-inf")
        self._snapshot: _Snapshot | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not look into the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """See prometheus-client."""
        snapshot = self._recent()
        yield _one("ranksearch_database_up", "1 while the database answers", float(snapshot is not None))
        pool = self._backend.database.engine.pool
        if isinstance(pool, QueuePool):
            yield _one("ranksearch_database_connections_in_use", "Connections that are lent out", pool.checkedout())
        if snapshot is not None:
            yield from _families(snapshot)

    def _recent(self) -> _Snapshot | None:
        with self._lock:
            if time.monotonic() - self._taken >= self._fresh:
                try:
                    with self._backend.reading() as session:
                        self._snapshot = _look(session, self._backend.settings.worker_away_seconds)
                except SQLAlchemyError as problem:
                    log.warning("no gauges of the database: %s", problem)
                    self._snapshot = None
                self._taken = time.monotonic()
            return self._snapshot


def _look(session: Session, away_seconds: float) -> _Snapshot:
    at, told = now(session), _Snapshot()
    paused = JobRow.study_id.in_(select(StudyRow.id).where(StudyRow.state == "paused"))
    later = JobRow.not_before > at
    state = case(
        (JobRow.state == "leased", "leased"),
        (or_(later, JobRow.study_id.is_not(None) & paused), "delayed"),
        else_="waiting",
    )
    of_jobs = (
        select(JobRow.kind, state, func.count(), func.min(JobRow.queued_at))
        .where(JobRow.state.in_(("waiting", "leased")))
        .group_by(JobRow.kind, state)
    )
    counts = {"waiting": told.waiting, "delayed": told.delayed, "leased": told.leased}
    for kind, where, count, queued_at in session.execute(of_jobs):
        counts[where][kind] = count
        if where == "waiting":
            told.oldest = max(told.oldest, at - queued_at)
    for name, count in session.execute(select(StudyRow.state, func.count()).group_by(StudyRow.state)):
        told.studies[name] = count
    _look_at_workers(session, told, at - away_seconds)
    blobs = session.execute(select(func.count(), func.coalesce(func.sum(BlobRow.size), 0)).select_from(BlobRow)).one()
    told.blobs, told.blob_bytes = int(blobs[0]), int(blobs[1])
    return told


def _look_at_workers(session: Session, told: _Snapshot, away_before: float) -> None:
    busy = select(JobRow.worker).where(JobRow.state == "leased", JobRow.worker.is_not(None))
    state = case(
        (WorkerRow.last_seen_at < away_before, "away"),
        (WorkerRow.draining.is_(True), "draining"),
        (WorkerRow.id.in_(busy), "busy"),
        else_="idle",
    )
    by_state = select(state, func.count()).where(WorkerRow.left.is_(False)).group_by(state)
    for name, count in session.execute(by_state):
        told.workers[name] = count


def _families(told: _Snapshot) -> Iterable[Metric]:
    yield _by("kind", "ranksearch_jobs_waiting", "Jobs that a worker could claim now", told.waiting)
    yield _by("kind", "ranksearch_jobs_delayed", "Jobs that wait for another attempt, or in a pause", told.delayed)
    yield _by("kind", "ranksearch_jobs_leased", "Jobs that workers have", told.leased)
    yield _one("ranksearch_jobs_oldest_waiting_seconds", "Since the oldest job that waits was queued", told.oldest)
    yield _by("state", "ranksearch_workers", "Workers that have not said goodbye", told.workers)
    yield _by("state", "ranksearch_studies", "Studies", told.studies)
    yield _one("ranksearch_blobs", "Blobs in the store", told.blobs)
    yield _one("ranksearch_blob_bytes", "Bytes of the blobs in the store", told.blob_bytes)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(label: str, name: str, text: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family
