"""Where bytes arrive before they are a blob: local files, hashed while they are written.

What a crash leaves is removed at the next start: a spool belongs to one process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from ranksearch.contracts.resources import Blob
from service.storage.blobs import storage_full

__all__ = ["Keep", "Spool", "SpoolFile"]

Keep: TypeAlias = Callable[[Path, str], None]
"""Stores a complete file under its sha256; the file stays."""


class Spool:
    """A directory of arriving files; opening it empties it.

    Args:
        root: made where it lacks.
        keep: how what has arrived becomes a blob.
    """

    def __init__(self, root: Path, keep: Keep) -> None:
        self._root = root
        self._keep = keep
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)

    def open(self, announced: int | None) -> SpoolFile:
        """A file for a blob that is about to arrive.

        Args:
            announced: its size, where known.

        Raises:
            UnavailableError: ``storage_full``.
        """
        if announced is not None and announced > shutil.disk_usage(self._root).free:
            full = storage_full()
            assert full is not None  # noqa: S101 - without an argument there always is one
            raise full
        try:
            return SpoolFile(self._root / uuid4().hex, self._keep)
        except OSError as problem:
            raise storage_full(problem) or problem from problem


class SpoolFile:
    """See :class:`~service.storage.blobs.Incoming`."""

    def __init__(self, path: Path, keep: Keep) -> None:
        self.path = path
        self.size = 0
        self._keep = keep
        self._digest = hashlib.sha256()
        self._file = path.open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        """See :class:`~service.storage.blobs.Incoming`."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """See :class:`~service.storage.blobs.Incoming`."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as problem:
            raise storage_full(problem) or problem from problem
        self._digest.update(data)
        self.size += len(data)

    def seal(self) -> None:
        """See :class:`~service.storage.blobs.Incoming`."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise storage_full(problem) or problem from problem
        self._file.close()

    def commit(self) -> Blob:
        """See :class:`~service.storage.blobs.Incoming`."""
        self.seal()
        try:
            self._keep(self.path, self.sha256)
        except OSError as problem:
            raise storage_full(problem) or problem from problem
        return Blob(sha256=self.sha256, size=self.size)

    def discard(self) -> None:
        """See :class:`~service.storage.blobs.Incoming`."""
        self._file.close()
        self.path.unlink(missing_ok=True)
