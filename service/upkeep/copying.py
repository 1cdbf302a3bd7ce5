"""Files copied and hashed on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["copied", "linked_or_copied", "sha256_of", "sync_folder"]

_PIECE = 1 << 20


def copied(source: Path, target: Path, *, mode: int = 0o644) -> str:
    """Copy a file, synced to the disk; the sha256 of its bytes."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        for piece in _pieces(reading, digest):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()


def linked_or_copied(source: Path, target: Path, *, link: bool) -> str:
    """A second name for a file where the file system has such a thing, else a copy; the sha256 of its bytes."""
    if link:
        try:
            target.hardlink_to(source)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            return copied(source, target)
        return sha256_of(target)
    return copied(source, target)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as reading:
        for _ in _pieces(reading, digest):
            pass
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """What a folder lists is on the disk once the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pieces(reading: IO[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    while piece := reading.read(_PIECE):
        digest.update(piece)
        yield piece
