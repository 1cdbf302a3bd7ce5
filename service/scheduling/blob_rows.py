"""Blobs and their rows, kept in step by any number of processes at once.

A row promises that the store holds the bytes; bytes without a row are garbage that anybody may remove. So bytes come
before their row and go after it:

- Storing: the bytes, then in one transaction the row and whatever refers to it. A row that is new looks, before it is
  committed, whether the bytes are still there; where they were removed in between, they are stored again.
- Removing bytes: while the place of their row is taken by this transaction, so that nobody can make one meanwhile.
- Referring to a row that is there locks it against being forgotten.

Whoever dies in between leaves garbage, never a row without bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import update
from sqlalchemy.orm import Session

from ranksearch.contracts.resources import Blob
from service.scheduling.backend import Backend, now
from service.storage.blobs import Incoming
from service.storage.inserting import insert_absent
from service.storage.tables import BlobRow

__all__ = ["hold", "remove_garbage", "store"]

log = logging.getLogger(__name__)

Taken = TypeVar("Taken")


def store(backend: Backend, incoming: Incoming, insert: Callable[[Session, Blob, bool], Taken]) -> Taken:
    """Make what has arrived a blob, together with what refers to it.

    Bytes that were new are taken back when the rows cannot be written.

    Args:
        backend: the stores.
        incoming: complete.
        insert: in the transaction, makes the rows that refer to the blob; its last argument says whether it is new.

    Raises:
        UnavailableError: the disk is full, or the store is away.
    """
    was_here = backend.blobs.holds(incoming.sha256)
    blob = incoming.commit()
    try:
        with backend.writing() as session:
            new = _ensure_row(session, blob)
            if new and not backend.blobs.holds(blob.sha256):
                incoming.commit()  # in the transaction: now nobody else removes them
            return insert(session, blob, new)
    except BaseException:
        if not was_here:
            _take_back(backend, blob.sha256)
        raise


def hold(session: Session, sha256: str) -> bool:
    """Keep a blob's row from being forgotten until the transaction has made a reference to it; False: there is none."""
    touched = update(BlobRow).where(BlobRow.sha256 == sha256).values(touched_at=now(session))
    return session.scalar(touched.returning(BlobRow.sha256)) is not None


def remove_garbage(backend: Backend, sha256: str) -> bool:
    """Remove bytes that have no row; False where they have one."""
    with backend.writing() as session:
        if not insert_absent(session, BlobRow, sha256=sha256, size=0, created_at=0.0, touched_at=0.0):
            return False
        backend.blobs.remove(sha256)
        session.rollback()  # the row only held the place
    return True


def _ensure_row(session: Session, blob: Blob) -> bool:
    """Insert the blob's row, or hold the one that is there; says whether it is new."""
    while True:
        at = now(session)
        if insert_absent(session, BlobRow, sha256=blob.sha256, size=blob.size, created_at=at, touched_at=at):
            return True
        if hold(session, blob.sha256):
            return False


def _take_back(backend: Backend, sha256: str) -> None:
    try:
        remove_garbage(backend, sha256)
    except Exception:
        log.exception("bytes could not be taken back; the next collection removes them sha256=%s", sha256)
