"""What is dropped after some time, a bounded portion at a collection."""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Select, delete, exists, func, select

from service.scheduling.backend import Backend, now
from service.scheduling.garbage import GarbageSearch, forget_blobs
from service.scheduling.views import TERMINAL
from service.storage.tables import BlobRow, EventRow, FactorRow, StudyRow

__all__ = ["Retention", "drop_factors", "drop_optuna_studies", "trim_events"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
_DAY: Final = 86_400.0


class Retention:
    """Collects what nobody needs any more. Any number of processes may do so at once.

    Args:
        backend: whose settings say what is kept how long.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._garbage = GarbageSearch(backend)

    def collect(self) -> None:
        """Drop one portion of everything that has outlived its time."""
        settings = self._backend.settings
        factors = drop_factors(self._backend)
        events = trim_events(self._backend)
        studies = drop_optuna_studies(self._backend)
        blobs = forget_blobs(self._backend, settings.blob_grace_seconds)
        garbage = self._garbage.remove(settings.blob_grace_seconds)
        if factors or events or studies or blobs or garbage:
            log.info(
                "collected factors=%d studies_trimmed=%d optuna_studies=%d blobs=%d garbage=%d",
                factors,
                events,
                studies,
                blobs,
                garbage,
            )


def drop_factors(backend: Backend) -> int:
    """Drop factors that were not asked for in time, and the least recently used ones beyond what all may take.

    Their bytes are a matter of :mod:`.garbage`. Returns how many there were.
    """
    settings = backend.settings
    with backend.reading() as session:
        before = now(session) - settings.factor_days * _DAY
        unused = select(FactorRow.key).where(FactorRow.used_at < before).order_by(FactorRow.used_at).limit(_AT_ONCE)
        keys = {*session.scalars(unused), *session.scalars(_beyond(settings.factor_bytes))}
    with backend.writing() as session:
        session.execute(delete(FactorRow).where(FactorRow.key.in_(sorted(keys))))
    return len(keys)


def trim_events(backend: Backend) -> int:
    """Drop the events of studies that ended long ago, up to the one that tells their end. Returns of how many."""
    with backend.reading() as session:
        before = now(session) - backend.settings.event_days * _DAY
        ended = (StudyRow.state.in_(TERMINAL), StudyRow.finished_at < before)
        first = exists().where(EventRow.study_id == StudyRow.id, EventRow.number == 1)
        ids = session.scalars(select(StudyRow.id).where(*ended, first).limit(_AT_ONCE)).all()
    for study in ids:
        with backend.writing() as session:
            told = (EventRow.study_id == study, EventRow.kind == "study")
            end = session.scalar(select(func.max(EventRow.number)).where(*told)) or 0
            session.execute(delete(EventRow).where(EventRow.study_id == study, EventRow.number < end))
    return len(ids)


def drop_optuna_studies(backend: Backend) -> int:
    """Have Optuna forget the studies of ours that were deleted, where a process died in between."""
    names = backend.records.names()  # first: a study's row is there before Optuna knows of it
    with backend.reading() as session:
        ours = set(session.scalars(select(StudyRow.optuna_study)))
    gone = [name for name in names if name not in ours][:_AT_ONCE]
    for name in gone:
        backend.records.forget(name)
    return len(gone)


def _beyond(limit: int) -> Select[tuple[str]]:
    """The keys that do not fit any more once those used after them are kept."""
    newest_first = (FactorRow.used_at.desc(), FactorRow.key)
    kept = select(FactorRow.key, func.sum(BlobRow.size).over(order_by=newest_first).label("total"))
    ranked = kept.join(BlobRow, BlobRow.sha256 == FactorRow.sha256).subquery()
    return select(ranked.c.key).where(ranked.c.total > limit).limit(_AT_ONCE)
