"""Blobs that nobody needs any more: first their rows are forgotten, then the bytes are removed.

Each blob is decided on in a transaction of its own, with its row locked, so that who is about to refer to it either
comes first, and it stays, or comes after and brings the bytes anew (:mod:`.blob_rows`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, select

from service.scheduling.backend import Backend, now
from service.scheduling.blob_rows import remove_garbage
from service.storage.blobs import StoredBlob
from service.storage.tables import BlobRow, DatasetRow, FactorRow, FineTuneRow, JobRow, ModelRow

__all__ = ["GarbageSearch", "forget_blobs"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
"""Blobs that one collection forgets, and hashes in one query."""
_LISTED: Final = 5000
"""Blobs of the store that one collection looks at."""


def forget_blobs(backend: Backend, grace: float) -> int:
    """Forget and remove blobs that no row has referred to for ``grace`` seconds. Returns how many there were."""
    with backend.reading() as session:
        old = BlobRow.touched_at < now(session) - grace
        unused = select(BlobRow.sha256).where(old, _unreferenced()).order_by(BlobRow.touched_at).limit(_AT_ONCE)
        candidates = session.scalars(unused).all()
    forgotten = [sha256 for sha256 in candidates if _forget(backend, sha256, grace)]
    for sha256 in forgotten:
        remove_garbage(backend, sha256)
    return len(forgotten)


class GarbageSearch:
    """Bytes in the store that have no row: what a process left that died between storing them and their row.

    Looks at a portion of the store a time and goes on where it was; its place is forgotten when the process ends.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._after = ""

    def remove(self, grace: float) -> int:
        """Remove those of the next portion that are older than ``grace`` seconds. Returns how many there were.

        Where most of a portion has no row, nothing is removed: rather than garbage, it is another service's.
        """
        listed = list(islice(self._backend.blobs.listing(self._after), _LISTED))
        self._after = listed[-1].sha256 if len(listed) == _LISTED else ""
        garbage = self._without_row(listed)
        if 2 * len(garbage) > len(listed):
            log.warning(
                "most blobs of the store are not known to this database, and stay: is it another service's?"
                " listed=%d unknown=%d",
                len(listed),
                len(garbage),
            )
            return 0
        with self._backend.reading() as session:
            before = now(session) - grace
        return sum(remove_garbage(self._backend, one.sha256) for one in garbage if one.modified < before)

    def _without_row(self, listed: Sequence[StoredBlob]) -> list[StoredBlob]:
        known: set[str] = set()
        with self._backend.reading() as session:
            for start in range(0, len(listed), _AT_ONCE):
                some = [one.sha256 for one in listed[start : start + _AT_ONCE]]
                known.update(session.scalars(select(BlobRow.sha256).where(BlobRow.sha256.in_(some))))
        return [one for one in listed if one.sha256 not in known]


def _forget(backend: Backend, sha256: str, grace: float) -> bool:
    with backend.writing() as session:
        old = (BlobRow.sha256 == sha256, BlobRow.touched_at < now(session) - grace)
        row = session.scalars(select(BlobRow).where(*old).with_for_update(skip_locked=True)).first()
        # A statement of its own: it sees what was committed until the lock was had.
        if row is None or not session.scalar(select(_unreferenced()).where(BlobRow.sha256 == sha256)):
            return False
        session.delete(row)
        return True


def _unreferenced() -> ColumnElement[bool]:
    referring = (
        *(ModelRow.sha256, ModelRow.document, DatasetRow.sha256),
        *(FactorRow.sha256, JobRow.artifact, FineTuneRow.checkpoint),
    )
    return and_(*(~exists().where(column == BlobRow.sha256) for column in referring))
