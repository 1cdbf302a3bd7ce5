"""Factors of layers that one worker has computed, for all the others.

A key names everything that determines the factors, so that the first that are stored are as good as any later ones.
"""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.resources import Blob
from service.scheduling.backend import Backend, now
from service.scheduling.blob_rows import store
from service.scheduling.blob_views import blob_view
from service.storage.blobs import Incoming
from service.storage.inserting import insert_absent
from service.storage.races import again_when_raced
from service.storage.tables import FactorRow

__all__ = ["no_such_factors", "take_factors", "use_factors"]

_NOTED_SECONDS = 3600.0
"""That factors are used is noted at most so often: it is for telling those that nobody needs any more."""


@again_when_raced
def take_factors(backend: Backend, incoming: Incoming, key: str) -> tuple[Blob, bool]:
    """Keep factors; where the key has some already, these are dropped. The flag says whether they are new."""
    with backend.reading() as session:
        known = session.get(FactorRow, key)
        if known is not None:
            return blob_view(session, known.sha256), False

    def insert(session: Session, blob: Blob, _new: bool) -> tuple[Blob, bool]:  # noqa: FBT001 - the callback's shape
        at = now(session)
        if insert_absent(session, FactorRow, key=key, sha256=blob.sha256, created_at=at, used_at=at):
            return blob, True
        return blob_view(session, session.get_one(FactorRow, key).sha256), False

    return store(backend, incoming, insert)


def use_factors(backend: Backend, key: str) -> str:
    """The sha256 of the factors under a key; that they are of use is noted.

    Raises:
        NotFoundError: there are none.
    """
    with backend.reading() as session:
        row = session.get(FactorRow, key)
        if row is None:
            raise no_such_factors(key)
        sha256, stale = row.sha256, row.used_at < now(session) - _NOTED_SECONDS
    if stale:
        with backend.writing() as session:
            session.execute(update(FactorRow).where(FactorRow.key == key).values(used_at=now(session)))
    return sha256


def no_such_factors(key: str) -> NotFoundError:
    """The error for a key without factors."""
    return NotFoundError("factors_not_found", "there are no factors under this key", got=key)
