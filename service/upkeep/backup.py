"""A consistent copy of a service's data, made while it runs.

The database comes first: SQLite's own back-up reads one snapshot, whatever is written meanwhile. Then every blob that
the snapshot names, which never change; one that was collected in between has left the database, too, and then another
snapshot is taken. The copy grows under another name and is renamed when it is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from ranksearch.contracts.errors import ConflictError, InputError, RankSearchError, UnavailableError
from service.settings import Settings
from service.storage.migrations import VERSION_TABLE
from service.upkeep.copying import copied, linked_or_copied, sha256_of, sync_folder
from service.upkeep.manifest import DATABASE, MANIFEST, TOKEN, Kept, Manifest, blob_file
from service.version import VERSION

__all__ = ["back_up", "sqlite_file"]

_SNAPSHOTS: Final = 3
_BUSY_SECONDS: Final = 30.0


def back_up(settings: Settings, target: Path, *, link: bool = True) -> Manifest:
    """Write a back-up of a service, which may run, to a folder that must not exist yet.

    Args:
        settings: the service's.
        target: the folder.
        link: whether a blob on the same file system gets a second name instead of a copy: quick, and no protection
            against a disk that fails.

    Raises:
        InputError: this service's data cannot be backed up here.
        ConflictError: the folder exists.
        UnavailableError: a blob is missing or damaged, or there is no room.
    """
    source = sqlite_file(settings)
    if target.exists():
        raise ConflictError("in_use", "the back-up's folder exists already", got=target, mend="name another one")
    growing = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    growing.mkdir(parents=True, mode=0o700)
    try:
        manifest = _written(settings, source, growing, link=link)
        growing.rename(target)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise
    sync_folder(target.parent)
    return manifest


def sqlite_file(settings: Settings) -> Path:
    """The database's file.

    Raises:
        InputError: the database or the blobs are elsewhere, or there is no database yet.
    """
    url = make_url(settings.url)
    if url.get_backend_name() != "sqlite" or settings.blobs_url is not None:
        raise InputError(
            "backup_not_possible",
            "this copies an SQLite database and a folder of blobs; PostgreSQL and buckets have tools of their own",
            got=f"{url.get_backend_name()}, blobs in {'a bucket' if settings.blobs_url else 'a folder'}",
            mend="use pg_dump and a copy of the bucket: docs/operations.md has the procedure",
        )
    path = Path(url.database or "")
    if not path.is_file():
        raise InputError("backup_not_possible", "there is no database here", got=path, mend="check --data-dir")
    return path


def _written(settings: Settings, source: Path, folder: Path, *, link: bool) -> Manifest:
    database, blobs = folder / DATABASE, list[Kept]()
    for attempt in range(_SNAPSHOTS):
        _snapshot(source, database)
        try:
            blobs = [_kept(settings.data_dir, folder, *blob, link=link) for blob in _blobs(database)]
            break
        except FileNotFoundError as problem:
            if attempt + 1 == _SNAPSHOTS:
                raise _missing(Path(problem.filename).name) from problem
    _drop_what_no_row_names(folder, {blob.sha256 for blob in blobs})
    if (settings.data_dir / TOKEN).is_file():
        copied(settings.data_dir / TOKEN, folder / TOKEN, mode=0o600)
    with closing(sqlite3.connect(database)) as connection:
        (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - our name
        (studies,) = connection.execute("SELECT count(*) FROM rs_studies").fetchone()
    manifest = Manifest(
        version=VERSION,
        revision=revision,
        created_at=datetime.now(UTC),
        database=Kept(sha256=sha256_of(database), size=database.stat().st_size),
        blobs=blobs,
        studies=studies,
    )
    with (folder / MANIFEST).open("w") as file:
        file.write(manifest.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    for written in (path for path in folder.rglob("*") if path.is_dir()):
        sync_folder(written)
    sync_folder(folder)
    return manifest


def _snapshot(source: Path, target: Path) -> None:
    """One snapshot as one file: without a log of its own beside it."""
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(source, timeout=_BUSY_SECONDS)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _blobs(database: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT sha256, size FROM rs_blobs ORDER BY sha256").fetchall()


def _kept(data_dir: Path, folder: Path, sha256: str, size: int, *, link: bool) -> Kept:
    target = blob_file(folder, sha256)
    if not target.exists():  # from the snapshot before
        target.parent.mkdir(parents=True, exist_ok=True)
        found = linked_or_copied(blob_file(data_dir, sha256), target, link=link)
        if found != sha256:
            raise _damaged(sha256, found)
    return Kept(sha256=sha256, size=size)


def _drop_what_no_row_names(folder: Path, named: set[str]) -> None:
    for path in (folder / "blobs").rglob("*"):
        if path.is_file() and path.name not in named:
            path.unlink()


def _missing(sha256: str) -> RankSearchError:
    return UnavailableError(
        "blob_damaged",
        "a blob that the database names is not in the store",
        got=sha256,
        mend="ranksearch doctor --deep lists all of them; upload the document again, or delete what uses it",
    )


def _damaged(sha256: str, found: str) -> RankSearchError:
    return UnavailableError(
        "blob_damaged",
        "the bytes of a blob are not the ones that were stored",
        got=f"sha256 {found}",
        expected=sha256,
        mend="look at the disk; ranksearch doctor --deep lists all damaged blobs",
    )
