"""Blobs in a local directory."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import uuid4

from ranksearch.contracts.errors import UnavailableError
from service.storage.blobs import Incoming, StoredBlob, no_such_blob
from service.storage.spool import Spool

__all__ = ["DirectoryBlobStore"]

_PIECE = 1 << 20
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""How file systems without links say so."""


class DirectoryBlobStore:
    """Blobs as files ``sha256/ab/<sha256>`` below ``root``; opening it empties ``root/incoming``.

    An arriving file is synced to the disk and then linked to its address, in one step.
    """

    def __init__(self, root: Path, spool: Path | None = None) -> None:
        self.root = root
        self._blobs = root / "sha256"
        self._spool = Spool(spool or root / "incoming", self._keep)
        self._blobs.mkdir(exist_ok=True)

    def receive(self, announced: int | None = None) -> Incoming:
        """See :class:`~service.storage.blobs.BlobStore`."""
        return self._spool.open(announced)

    def address(self, sha256: str) -> Path:
        """Where the blob's file is, or would be."""
        return self._blobs / sha256[:2] / sha256

    def holds(self, sha256: str) -> bool:
        """See :class:`~service.storage.blobs.BlobStore`."""
        return self.address(sha256).is_file()

    def size(self, sha256: str) -> int:
        """See :class:`~service.storage.blobs.BlobStore`."""
        try:
            return self.address(sha256).stat().st_size
        except FileNotFoundError as problem:
            raise no_such_blob(sha256) from problem

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """See :class:`~service.storage.blobs.BlobStore`. Removing the blob after the call does no harm."""
        try:
            return _pieces(self.address(sha256).open("rb"), start, stop)
        except FileNotFoundError as problem:
            raise no_such_blob(sha256) from problem

    def remove(self, sha256: str) -> None:
        """See :class:`~service.storage.blobs.BlobStore`."""
        self.address(sha256).unlink(missing_ok=True)

    def listing(self, after: str = "") -> Iterator[StoredBlob]:
        """See :class:`~service.storage.blobs.BlobStore`."""
        for folder in sorted(self._blobs.iterdir()):
            if folder.name >= after[:2]:
                for path in sorted(folder.iterdir()):
                    if path.name > after and len(path.name) == 64:  # noqa: PLR2004 - characters of a sha256
                        try:
                            yield StoredBlob(path.name, path.stat().st_mtime)
                        except FileNotFoundError:
                            continue  # removed meanwhile

    def check(self) -> None:
        """See :class:`~service.storage.blobs.BlobStore`. A disk may be unmounted, or mounted read-only."""
        if not os.access(self._blobs, os.W_OK | os.X_OK):
            raise UnavailableError(
                "storage_unavailable",
                "the folder of the blobs is not there, or may not be written to",
                mend="look at the service's data directory: whether its disk is mounted, and whose it is",
            )

    def _keep(self, path: Path, sha256: str) -> None:
        target = self.address(sha256)
        if target.is_file():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except FileExistsError:
            return  # somebody else was quicker, with the same bytes
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            _copy(path, target)
        _sync_folder(target.parent)


def _pieces(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (piece := file.read(min(_PIECE, stop - start))):
            start += len(piece)
            yield piece


def _copy(path: Path, target: Path) -> None:
    """Put a copy at ``target`` in one step."""
    aside = path.with_name(uuid4().hex)
    try:
        with path.open("rb") as source, aside.open("xb") as copy:
            shutil.copyfileobj(source, copy, _PIECE)
            copy.flush()
            os.fsync(copy.fileno())
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A link is on the disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
