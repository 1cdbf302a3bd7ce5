"""Whether every blob that the database names is there, and what is there without being named."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.checkups import Check, fail, ok, warn
from ranksearch.contracts.errors import NotFoundError, UnavailableError
from service.settings import Settings
from service.storage.blob_bucket import BucketBlobStore
from service.storage.blob_directory import DirectoryBlobStore
from service.storage.blobs import BlobStore
from service.storage.bucket_address import BucketAddress
from service.storage.tables import BlobRow

__all__ = ["blob_checks"]

_SAMPLE: Final = 200


def blob_checks(session: Session, settings: Settings, spool: Path, *, deep: bool) -> Iterator[Check]:
    """Look for blobs; ``spool`` is an empty folder, so that a running service keeps its own."""
    rows = session.execute(select(BlobRow.sha256, BlobRow.size).order_by(BlobRow.sha256)).all()
    sizes = {sha256: size for sha256, size in rows}  # noqa: C416 - mypy cannot see that rows are pairs
    if settings.blobs_url is None and not settings.blobs_dir.is_dir():
        yield fail("blobs", f"there is no {settings.blobs_dir}", "mount its disk, or restore a back-up")
        return
    try:
        store = _store(settings, spool / "incoming")
        yield _bytes_of_rows(store, sizes, deep=deep)
        yield _rows_of_bytes(store, set(sizes))
    except UnavailableError as problem:
        yield fail("blobs", problem.detail, problem.mend or "check that the store runs, and its credentials")


def _store(settings: Settings, spool: Path) -> BlobStore:
    if settings.blobs_url is None:
        return DirectoryBlobStore(settings.blobs_dir, spool)
    return BucketBlobStore(BucketAddress.parse(settings.blobs_url), spool)


def _bytes_of_rows(store: BlobStore, sizes: dict[str, int], *, deep: bool) -> Check:
    looked_at = list(sizes)
    if not deep and len(looked_at) > _SAMPLE:
        looked_at = random.Random().sample(looked_at, _SAMPLE)  # noqa: S311 - another sample each time, no secret
    bad = [sha256 for sha256 in looked_at if not _sound(store, sha256, sizes[sha256], deep=deep)]
    how = "read and hashed" if deep else "looked for"
    if bad:
        told = f"{len(bad)} of {len(looked_at)} {how} are missing or damaged: {', '.join(bad[:5])}"
        return fail("blobs", told, "upload these documents again, or restore a back-up")
    return ok("blobs", f"{len(looked_at)} of {len(sizes)} {how}: all are there")


def _sound(store: BlobStore, sha256: str, size: int, *, deep: bool) -> bool:
    try:
        if store.size(sha256) != size:
            return False
        if not deep:
            return True
        digest = hashlib.sha256()
        for piece in store.read(sha256, 0, size):
            digest.update(piece)
    except NotFoundError:
        return False
    return digest.hexdigest() == sha256


def _rows_of_bytes(store: BlobStore, named: set[str]) -> Check:
    orphans = sum(stored.sha256 not in named for stored in store.listing())
    if orphans:
        return warn(
            "orphans", f"{orphans} blobs that no row names", "the service collects them; nothing is lost meanwhile"
        )
    return ok("orphans", "no blob without its row")
