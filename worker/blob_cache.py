"""Blobs fetched from the service, kept on the worker's disk under their sha256, within a size."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.resources import Blob
from worker.trimming import touch, trim

__all__ = ["BlobCache", "Downloads"]


class Downloads(Protocol):
    """The one call this module needs of a client."""

    def download(self, sha256: str, path: Path) -> Path:
        """Fetch a blob, verify its sha256 and put it at ``path`` in one step."""


class BlobCache:
    """A directory of verified blobs. A file that is there is whole: it was renamed into place.

    Several agents may share the directory, in one process or in many. A blob in use is locked (shared) by whoever
    uses it, so that nobody else deletes it; the system gives the lock free when its holder dies, however it dies.

    Args:
        directory: made when first needed.
        blobs: where a missing blob comes from.
        limit: bytes of all blobs together; those in use may take more.
    """

    def __init__(self, directory: Path, blobs: Downloads, limit: int = 20 << 30) -> None:
        self._directory = directory
        self._blobs = blobs
        self._limit = limit

    @contextmanager
    def holding(self, blobs: Iterable[Blob]) -> Iterator[dict[str, Path]]:
        """sha256 → local file of each blob, downloaded if it is not there yet; they stay while the block lasts."""
        with ExitStack() as held:
            yield {blob.sha256: held.enter_context(self._held(blob)) for blob in blobs}

    @contextmanager
    def _held(self, blob: Blob) -> Iterator[Path]:
        path = self._directory / blob.sha256[:2] / blob.sha256
        while (lock := _locked(path, blob.size)) is None:
            self._fetch(blob, path)
        try:
            touch(path)
            yield path
        finally:
            os.close(lock)

    def _fetch(self, blob: Blob, path: Path) -> None:
        """Download a blob, unless somebody else does it meanwhile."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("wb") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            if _size(path) != blob.size:
                trim(self._directory, max(0, self._limit - blob.size), _remove_unless_used)
                self._blobs.download(blob.sha256, path)
                if _size(path) not in {blob.size, None}:  # None: deleted already, to make room for another agent's
                    raise UnavailableError(
                        "service_answer_invalid",
                        "a blob is of another size than its task says",
                        got=f"{blob.sha256}, not of {blob.size} bytes",
                        mend="try again; if it stays so, the service's store is damaged",
                    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _locked(path: Path, size: int) -> int | None:
    """A descriptor that keeps the file from being deleted; None where it is not there, or not whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    # It may have been deleted or replaced between the opening and the locking.
    if _size(path) == size and _is_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_unless_used(path: Path) -> None:
    with suppress(OSError), path.open("rb") as file:  # BlockingIOError: somebody uses it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
