"""Bytes addressed by their sha256: the contract of every store.

Ownership: an :class:`Incoming` belongs to who opened it, until ``discard``; discarding after committing is allowed
and takes nothing back.

Atomicity: a blob is at its address completely or not at all. The same address always has the same bytes, so that two
processes may store or remove one blob at the same time; which blobs are to stay is decided by their rows
(:mod:`service.scheduling.blob_rows`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from ranksearch.contracts.resources import Blob

__all__ = ["BlobStore", "Incoming", "StoredBlob", "no_such_blob", "storage_full"]

_FULL = {errno.ENOSPC, errno.EDQUOT}


def storage_full(problem: OSError | None = None) -> UnavailableError | None:
    """The error to answer when ``problem`` means a full disk, else None; without one, the error itself."""
    if problem is not None and problem.errno not in _FULL:
        return None
    return UnavailableError(
        "storage_full",
        "the service has no room left on its disk",
        expected="free space for the whole upload",
        mend="free some space in the service's data directory, or give it a larger disk; then send it again",
    )


def no_such_blob(sha256: str) -> NotFoundError:
    """The error for a blob that is not here."""
    return NotFoundError("blob_not_found", "there is no such blob here", got=sha256)


@dataclass(frozen=True)
class StoredBlob:
    """A blob as its store lists it.

    Args:
        sha256: its address.
        modified: when it was stored, by the store's clock, in seconds since 1970.
    """

    sha256: str
    modified: float


class Incoming(Protocol):
    """A blob that is arriving, in a local file."""

    path: Path
    size: int

    @property
    def sha256(self) -> str:
        """Of what has arrived so far."""
        ...

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            UnavailableError: the disk is full.
        """
        ...

    def seal(self) -> None:
        """No more bytes will come: flush, so that ``path`` can be read."""
        ...

    def commit(self) -> Blob:
        """Make it a blob. May be repeated; the same bytes stored before are kept, which costs a look.

        Raises:
            UnavailableError: the disk is full, or the store is away.
        """
        ...

    def discard(self) -> None:
        """Forget the local file."""
        ...


class BlobStore(Protocol):
    """Where blobs live.

    Every method raises an UnavailableError, ``storage_unavailable``, where the store is away.
    """

    def receive(self, announced: int | None = None) -> Incoming:
        """Open a blob that is about to arrive.

        Args:
            announced: its size, where the sender has said it.

        Raises:
            UnavailableError: it cannot fit.
        """
        ...

    def holds(self, sha256: str) -> bool:
        """Whether the blob is here."""
        ...

    def size(self, sha256: str) -> int:
        """Of the blob, in bytes.

        Raises:
            NotFoundError: no such blob.
        """
        ...

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop``, which lie within the blob, in pieces of at most a few MiB.

        Raises:
            NotFoundError: no such blob, at the call or while its pieces are taken.
        """
        ...

    def remove(self, sha256: str) -> None:
        """Forget a blob; one that is not here is no error."""
        ...

    def listing(self, after: str = "") -> Iterator[StoredBlob]:
        """The blobs whose sha256 comes after ``after``, ascending; what changes meanwhile may be missed."""
        ...

    def check(self) -> None:
        """Return when the store answers.

        Raises:
            UnavailableError: it does not, and why.
        """
        ...
