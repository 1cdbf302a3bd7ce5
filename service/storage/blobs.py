"""Bytes addressed by their sha256.

Ownership: an :class:`Incoming` belongs to who opened it, until ``commit`` or ``discard``; exactly one of the two
ends it, and discarding after committing is allowed and does nothing.

Atomicity: a blob is at its address completely or not at all. Bytes arrive in ``incoming/``, are synced to the disk
and then renamed; what a crash leaves in ``incoming/`` is removed at the next start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from ranksearch.contracts.resources import Blob

__all__ = ["BlobStore", "DirectoryBlobStore", "Incoming", "storage_full"]

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


class Incoming(Protocol):
    """A blob that is arriving."""

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
        """Make it a blob. Idempotent in its effect: the same bytes stored before are kept."""
        ...

    def discard(self) -> None:
        """Leave nothing behind."""
        ...


class BlobStore(Protocol):
    """Where blobs live."""

    lock: threading.RLock
    """Held from ``commit`` until the blob's row is written, so that a rollback can take back a new blob."""

    def receive(self, announced: int | None = None) -> Incoming:
        """Open a blob that is about to arrive.

        Args:
            announced: its size, where the sender has said it.

        Raises:
            UnavailableError: it cannot fit.
        """
        ...

    def path(self, sha256: str) -> Path:
        """A local file with the blob's bytes.

        Raises:
            NotFoundError: no such blob.
        """
        ...

    def holds(self, sha256: str) -> bool:
        """Whether the blob is here."""
        ...

    def remove(self, sha256: str) -> None:
        """Forget a blob; one that is not here is no error."""
        ...


class DirectoryBlobStore:
    """Blobs as files ``sha256/ab/<sha256>`` below ``root``; opening it empties ``root/incoming``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self._incoming = root / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def receive(self, announced: int | None = None) -> Incoming:
        """See :class:`BlobStore`."""
        if announced is not None and announced > shutil.disk_usage(self._incoming).free:
            full = storage_full()
            assert full is not None  # noqa: S101 - without an argument there always is one
            raise full
        try:
            return _IncomingFile(self._incoming / uuid4().hex, self)
        except OSError as problem:
            raise storage_full(problem) or problem from problem

    def address(self, sha256: str) -> Path:
        """Where the blob's file is, or would be."""
        return self.root / "sha256" / sha256[:2] / sha256

    def path(self, sha256: str) -> Path:
        """See :class:`BlobStore`."""
        if not self.holds(sha256):
            raise NotFoundError("blob_not_found", "there is no such blob here", got=sha256)
        return self.address(sha256)

    def holds(self, sha256: str) -> bool:
        """See :class:`BlobStore`."""
        return self.address(sha256).is_file()

    def remove(self, sha256: str) -> None:
        """See :class:`BlobStore`."""
        self.address(sha256).unlink(missing_ok=True)


class _IncomingFile:
    def __init__(self, path: Path, store: DirectoryBlobStore) -> None:
        self.path = path
        self.size = 0
        self._store = store
        self._digest = hashlib.sha256()
        self._file = path.open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as problem:
            raise storage_full(problem) or problem from problem
        self._digest.update(data)
        self.size += len(data)

    def seal(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise storage_full(problem) or problem from problem
        self._file.close()

    def commit(self) -> Blob:
        if not self._file.closed:
            self.seal()
        target = self._store.address(self.sha256)
        if target.is_file():
            self.discard()
        else:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self.path.rename(target)
                _sync_folder(target.parent)
            except OSError as problem:
                raise storage_full(problem) or problem from problem
        return Blob(sha256=self.sha256, size=self.size)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
