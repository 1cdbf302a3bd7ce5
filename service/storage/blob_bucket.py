"""Blobs in an S3-compatible store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ranksearch.contracts.errors import UnavailableError
from service.storage.blobs import Incoming, StoredBlob, no_such_blob
from service.storage.bucket_address import BucketAddress
from service.storage.spool import Spool

__all__ = ["BucketBlobStore"]

_PIECE = 4 << 20
_PART = 16 << 20
"""Of a multipart upload: S3 takes 10,000 of them, so 156 GiB a blob."""
_CONCURRENCY = 4
_FOLDER = "sha256"


class BucketBlobStore:
    """Blobs as objects ``PREFIX/sha256/ab/<sha256>``; what is arriving lies in a local directory.

    An object appears at its key when its upload is complete, by one request or by the one that ends a multipart
    upload. What is read is asked for in ranges of a few MiB: a slow reader holds no connection to the store open, and
    a range that fails is asked for again.

    Uploads that a crash cuts off may leave parts that only the store sees: give the bucket a lifecycle rule that
    aborts incomplete multipart uploads.

    Args:
        address: of the bucket.
        spool: the directory where bytes arrive; opening the store empties it.
    """

    def __init__(self, address: BucketAddress, spool: Path) -> None:
        self._address = address
        self._spool = Spool(spool, self._keep)
        options: dict[str, Any] = {**address.options}
        self._store = S3Store(
            address.bucket,
            prefix=address.prefix or None,
            client_options={"allow_http": address.plain_http, "connect_timeout": "3s", "timeout": "60s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
            **options,
        )

    def receive(self, announced: int | None = None) -> Incoming:
        """See :class:`~service.storage.blobs.BlobStore`."""
        return self._spool.open(announced)

    def holds(self, sha256: str) -> bool:
        """See :class:`~service.storage.blobs.BlobStore`. One request."""
        return self._size(sha256) is not None

    def size(self, sha256: str) -> int:
        """See :class:`~service.storage.blobs.BlobStore`. One request."""
        size = self._size(sha256)
        if size is None:
            raise no_such_blob(sha256)
        return size

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """See :class:`~service.storage.blobs.BlobStore`."""
        while start < stop:
            until = min(start + _PIECE, stop)
            with self._answering():
                try:
                    piece = bytes(obstore.get_range(self._store, _key(sha256), start=start, end=until))
                except FileNotFoundError as problem:
                    raise no_such_blob(sha256) from problem
            yield piece
            start = until

    def remove(self, sha256: str) -> None:
        """See :class:`~service.storage.blobs.BlobStore`."""
        with self._answering():
            try:
                obstore.delete(self._store, _key(sha256))
            except FileNotFoundError:
                return

    def listing(self, after: str = "") -> Iterator[StoredBlob]:
        """See :class:`~service.storage.blobs.BlobStore`."""
        with self._answering():
            for some in obstore.list(self._store, _FOLDER, offset=_key(after) if after else None):
                for one in some:
                    sha256 = one["path"].rpartition("/")[2]
                    if one["path"] == _key(sha256):
                        yield StoredBlob(sha256, one["last_modified"].timestamp())

    def check(self) -> None:
        """See :class:`~service.storage.blobs.BlobStore`. One request."""
        next(self.listing(), None)

    def _size(self, sha256: str) -> int | None:
        with self._answering():
            try:
                return obstore.head(self._store, _key(sha256))["size"]
            except FileNotFoundError:
                return None

    def _keep(self, path: Path, sha256: str) -> None:
        if self.holds(sha256):
            return
        with self._answering():
            try:
                obstore.put(self._store, _key(sha256), path, chunk_size=_PART, max_concurrency=_CONCURRENCY)
            except FileNotFoundError as problem:
                raise self._away(
                    problem, f"make the bucket {self._address.bucket}, or correct --blobs-url"
                ) from problem

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except BaseError as problem:
            raise self._away(problem) from problem

    def _away(self, problem: Exception, mend: str | None = None) -> UnavailableError:
        return UnavailableError(
            "storage_unavailable",
            f"the service's blob store {self._address} does not do its part",
            got=str(problem).partition("\n\nDebug source")[0].strip(),
            mend=mend or "try again in a moment; if it stays so, check the store, --blobs-url and the AWS_* variables",
        )


def _key(sha256: str) -> str:
    return f"{_FOLDER}/{sha256[:2]}/{sha256}"
