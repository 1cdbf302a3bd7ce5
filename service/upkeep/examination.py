"""An operator's view of a service's data, on its machine: nothing is changed, the service may run."""

from __future__ import annotations

import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ranksearch.contracts.checkups import Check, Checkup, fail, ok, warn
from ranksearch.contracts.errors import UnavailableError
from service.scheduling.backend import now
from service.settings import Settings
from service.storage.engine import Database
from service.storage.migrations import newest_revision, schema_revision, schema_state
from service.storage.server_check import check_server
from service.storage.tables import JobRow
from service.upkeep.blob_checks import blob_checks
from service.upkeep.trial_counts import trials_agree

__all__ = ["examine"]

_OVERDUE_SECONDS: Final = 60.0
_LITTLE_BYTES, _NOTHING_BYTES = 5 << 30, 256 << 20


def examine(settings: Settings, *, deep: bool = False) -> Checkup:
    """Look at everything that a service with these settings works with. Problems are findings, not exceptions.

    Args:
        settings: the service's.
        deep: whether every blob is read and hashed, instead of looked for in a sample.
    """
    return Checkup(checks=list(_checks(settings, deep=deep)))


def _checks(settings: Settings, *, deep: bool) -> Iterator[Check]:
    yield _token_file(settings.data_dir / "token")
    yield _disk(settings.data_dir)
    if settings.database_url is None and not (settings.data_dir / "ranksearch.db").is_file():
        yield fail("database", f"there is none in {settings.data_dir}", "check --data-dir; a service makes one")
        return
    database = Database(settings.url)
    try:
        yield from _database_checks(database, settings, deep=deep)
    finally:
        database.close()


def _database_checks(database: Database, settings: Settings, *, deep: bool) -> Iterator[Check]:
    began = time.monotonic()
    try:
        check_server(database)
        revision = schema_revision(database)
    except SQLAlchemyError as problem:
        detail = " ".join(str(getattr(problem, "orig", problem)).split())[:200]
        yield fail("database", f"it does not answer: {detail}", "check that it runs, its address and its password")
        return
    except UnavailableError as fault:
        yield fail("database", f"{fault.detail}: {fault.got}, expected {fault.expected}", str(fault.mend))
        return
    yield ok("database", f"{database.engine.dialect.name} answers within {1000 * (time.monotonic() - began):.0f} ms")
    schema = _schema(revision)
    yield schema
    try:
        with database.engine.connect() as connection:
            yield _integrity(connection)
        if schema.status != "ok":
            return
        with database.reading() as session:
            yield _leases(session)
            yield trials_agree(session)
            with tempfile.TemporaryDirectory(prefix="ranksearch-doctor-") as spool:
                yield from blob_checks(session, settings, Path(spool), deep=deep)
    except SQLAlchemyError as problem:
        detail = " ".join(str(getattr(problem, "orig", problem)).split())[:200]
        yield fail("tables", f"they cannot be read: {detail}", "restore a back-up: ranksearch restore")


def _token_file(path: Path) -> Check:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ok("token file", "there is none: the token comes from elsewhere")
    if mode & 0o077:
        return fail("token file", f"others on this machine can read {path} ({mode:o})", f"chmod 600 {path}")
    return ok("token file", "its owner alone can read it")


def _disk(data_dir: Path) -> Check:
    if not data_dir.is_dir():
        return fail("data directory", f"there is no {data_dir}", "check --data-dir")
    usage = shutil.disk_usage(data_dir)
    told = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB free"
    if usage.free < _NOTHING_BYTES:
        return fail("disk", told, "free some space: uploads are refused")
    if usage.free < _LITTLE_BYTES:
        return warn("disk", told, "free some space before uploads are refused, or give it a larger disk")
    return ok("disk", told)


def _schema(revision: str | None) -> Check:
    match schema_state(revision):
        case "newest":
            return ok("schema", f"{revision}, this program's own")
        case "behind":
            told = f"{revision}; this program's is {newest_revision()}"
            return warn("schema", told, "the next start of the service brings it up; make a back-up before")
        case "unknown":
            told = f"{revision}, made by a newer program; this one's is {newest_revision()}"
            return fail("schema", told, "run the newer version, or restore a back-up of this one")
        case "empty":
            return fail("schema", "there are no tables of ours", "check the URL; a service that starts makes them")


def _integrity(connection: Connection) -> Check:
    if connection.dialect.name == "sqlite":
        found = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check(5)"))]
        found = [] if found == ["ok"] else found
        dangling = connection.execute(text("PRAGMA foreign_key_check")).all()
        found += [f"{len(dangling)} rows refer to nothing"] if dangling else []
    else:
        invalid = text("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready)")
        unchecked = text("SELECT conname FROM pg_constraint WHERE NOT convalidated")
        found = [f"index {row[0]} is invalid" for row in connection.execute(invalid)]
        found += [f"constraint {row[0]} was never checked" for row in connection.execute(unchecked)]
    if found:
        return fail("integrity", "; ".join(found)[:300], "stop the service and restore a back-up: ranksearch restore")
    return ok("integrity", "the database's own check finds nothing")


def _leases(session: Session) -> Check:
    overdue = (JobRow.state == "leased", JobRow.lease_expires_at < now(session) - _OVERDUE_SECONDS)
    count = session.scalar(select(func.count()).select_from(JobRow).where(*overdue)) or 0
    if count:
        told = f"{count} leases ran out over {_OVERDUE_SECONDS:.0f} s ago and nobody took them back"
        return warn("leases", told, "start the service: it does that within seconds")
    return ok("leases", "none has run out unnoticed")
