"""Blobs fetched from the service, kept on the worker's disk under their sha256."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ranksearch.contracts.resources import Blob

__all__ = ["BlobCache", "Downloads"]


class Downloads(Protocol):
    """The one call this module needs of a client."""

    def download(self, sha256: str, path: Path) -> Path:
        """Fetch a blob, verify its sha256 and put it at ``path`` in one step."""


class BlobCache:
    """A directory of verified blobs. A file that is there is whole: it was renamed into place.

    Args:
        directory: made when first needed.
        blobs: where a missing blob comes from.
    """

    def __init__(self, directory: Path, blobs: Downloads) -> None:
        self._directory = directory
        self._blobs = blobs

    def path(self, blob: Blob) -> Path:
        """The local file of this blob, downloaded if it is not there yet."""
        path = self._directory / blob.sha256[:2] / blob.sha256
        if not (path.is_file() and path.stat().st_size == blob.size):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.download(blob.sha256, path)
        return path
