"""A back-up becomes a data directory again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from ranksearch.contracts.errors import ConflictError, UnavailableError
from service.storage.migrations import VERSION_TABLE, newest_revision, schema_state
from service.upkeep.copying import copied, sync_folder
from service.upkeep.manifest import DATABASE, TOKEN, Manifest, blob_file, read_manifest, unusable
from service.version import VERSION

__all__ = ["restore"]

_GROWING: Final = ".restoring"
_NOTHING: Final = {"lost+found", _GROWING}
"""What an empty directory may hold: the file system's own, and what an interrupted restore left."""


def restore(backup: Path, data_dir: Path) -> Manifest:
    """Make a data directory of a back-up, every file verified; the database comes last.

    Whatever goes wrong, the directory stays empty. A service started there goes on with every study; the leases of
    then expire, and their jobs are done again.

    Args:
        backup: what :func:`~service.upkeep.backup.back_up` wrote.
        data_dir: empty, or not there yet.

    Raises:
        InputError: the back-up is incomplete, damaged, or of a newer program.
        ConflictError: the directory is not empty.
        UnavailableError: there is no room.
    """
    manifest = read_manifest(backup)
    if schema_state(manifest.revision) == "unknown":
        raise unusable(
            "the back-up was made by a newer program than this one",
            got=f"schema {manifest.revision}, of version {manifest.version}",
            mend=f"restore it with that version; this one is {VERSION}, whose schema is {newest_revision()}",
        )
    _check_empty(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    growing = data_dir / _GROWING
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(mode=0o700)
    try:
        _check_room(growing, manifest)
        _fill(backup, growing, manifest)
        for name in ("blobs", TOKEN, DATABASE):
            if (growing / name).exists():
                (growing / name).rename(data_dir / name)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    sync_folder(data_dir)
    return manifest


def _check_empty(data_dir: Path) -> None:
    held = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else []
    held = [name for name in held if name not in _NOTHING]
    if held or (data_dir.exists() and not data_dir.is_dir()):
        raise ConflictError(
            "in_use",
            "a back-up is restored into an empty directory only",
            got=f"{data_dir} with {', '.join(held[:5])}",
            mend="name another directory, or move away what is in it",
        )


def _check_room(growing: Path, manifest: Manifest) -> None:
    free = shutil.disk_usage(growing).free
    if free < manifest.bytes:
        raise UnavailableError(
            "storage_full", "the back-up does not fit", got=f"{free} bytes free", expected=f"{manifest.bytes} bytes"
        )


def _fill(backup: Path, growing: Path, manifest: Manifest) -> None:
    (growing / "blobs" / "sha256").mkdir(parents=True)
    for blob in manifest.blobs:
        target = blob_file(growing, blob.sha256)
        target.parent.mkdir(exist_ok=True)
        _verified(blob_file(backup, blob.sha256), target, blob.sha256)
    if (backup / TOKEN).is_file():
        copied(backup / TOKEN, growing / TOKEN, mode=0o600)
    _verified(backup / DATABASE, growing / DATABASE, manifest.database.sha256)
    with closing(sqlite3.connect(growing / DATABASE)) as connection:
        (sound,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - our name
    if sound != "ok" or revision != manifest.revision:
        raise unusable("the database in the back-up is damaged", got=sound if sound != "ok" else f"schema {revision}")
    for folder in (growing / "blobs").rglob("*"):
        if folder.is_dir():
            sync_folder(folder)


def _verified(source: Path, target: Path, sha256: str) -> None:
    try:
        found = copied(source, target)
    except FileNotFoundError:
        raise unusable("the back-up is incomplete", got=f"no {source}") from None
    if found != sha256:
        raise unusable("a file of the back-up is damaged", got=f"{source} with sha256 {found}")
