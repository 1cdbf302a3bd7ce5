"""Keeps a directory of files within a size: the least recently used go first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["PART", "touch", "trim"]

PART = ".part"
"""The end of the name of a file that is being written; renamed when it is whole."""
_ABANDONED_SECONDS = 3600.0


def trim(directory: Path, limit: int, remove: Callable[[Path], object] | None = None) -> int:
    """Delete the least recently used files until the others are within ``limit`` bytes together.

    Several processes may do this on one directory. Parts of files that nobody has written to for an hour were left
    behind by a process that was killed, and go too; hidden files otherwise stay.

    Args:
        directory: looked through with what is below it; need not exist.
        limit: bytes.
        remove: deletes a file, or leaves it where it is in use.

    Returns:
        Bytes left.
    """
    files = []
    for entry, facts in _files(directory):
        if entry.name.endswith(PART):
            if time.time() - facts.st_mtime > _ABANDONED_SECONDS:
                _unlink(Path(entry.path))
        elif not entry.name.startswith("."):
            files.append((facts.st_mtime, facts.st_size, Path(entry.path)))
    held = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if held <= limit:
            break
        (remove or _unlink)(path)
        if not path.exists():
            held -= size
    return held


def touch(path: Path) -> None:
    """Note that a file was used just now."""
    with suppress(OSError):  # gone, or on a disk that cannot be written: then it only looks older than it is
        os.utime(path)


def _files(directory: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry, entry.stat(follow_symlinks=False)
        except OSError:  # somebody else deleted it
            continue


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
