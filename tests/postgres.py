"""A real PostgreSQL server that lives as long as the tests, or as one of them that kills it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.ports import free_port

__all__ = ["PostgresServer", "find_binaries", "own_server", "postgres"]

NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "512MB",  # so that few checkpoints come between
    "autovacuum": "off",
    "log_min_messages": "warning",
}
"""What is committed is with the system, so a killed server loses nothing of it; a machine without power would."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of a name of its own is made there
ENOUGH_BYTES = 2 << 30
"""Far above what the databases of one test at a time take."""


class PostgresServer:
    """PostgreSQL on a free port of the loopback, in a directory of its own.

    It refuses to run as root, so root runs it as the user ``postgres`` or else ``nobody``.
    """

    def __init__(self, binaries: Path, settings: Mapping[str, str] = NOT_DURABLE) -> None:
        self._binaries = binaries
        self._settings = dict(settings)
        self._user = _unprivileged()
        self.directory = Path(tempfile.mkdtemp(prefix="ranksearch-postgres-", dir=_place(self._settings)))
        self._data = self.directory / "data"
        self._names = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        initdb = ["--auth=trust", "--username=ranksearch", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *initdb, f"--pgdata={self._data}").wait()
        self.port = free_port()

    def start(self) -> None:
        """Start it, and return once it answers; after a kill, too."""
        options = self._settings | {"port": str(self.port), "unix_socket_directories": ""}
        settings = [f"-c{name}={value}" for name, value in options.items()]
        self._process = self._run("postgres", "-D", str(self._data), *settings)
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, self.log()
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it at once, as a crash would: every server process, nothing is written any more."""
        self.stop(signal.SIGQUIT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: connections are cut, what was committed is written."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """End it and leave nothing behind."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def address(self, database: str) -> str:
        """Where a database is, for libpq and for the service."""
        return f"postgresql://ranksearch@127.0.0.1:{self.port}/{database}"

    def url(self, database: str) -> str:
        """The same for SQLAlchemy."""
        return self.address(database).replace("postgresql", "postgresql+psycopg", 1)

    def create(self, template: str | None = None) -> str:
        """A fresh database's name; of a template, to which nobody may be connected, it is a copy."""
        name = f"test_{next(self._names)}"
        copied = "" if template is None else f" TEMPLATE {template} STRATEGY file_copy"
        self.execute(f"CREATE DATABASE {name}{copied}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it still."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """The name of a database that lives as long as the block."""
        name = self.create(template)
        try:
            yield name
        finally:
            self.drop(name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement outside of transactions, beside whatever the service does."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def log(self) -> str:
        """What it has said so far."""
        return (self.directory / "log").read_text()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(self._binaries / program), *arguments]
        user = self._user
        who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log, process_group=0, **who)


def find_binaries() -> Path | None:
    """Where the server's programs are: not on the path as a rule, so ``pg_config`` is asked."""
    asked = shutil.which("pg_config")
    if asked is not None:
        folder = Path(subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def _place(settings: Mapping[str, str]) -> Path | None:
    """In memory, where nothing has to be durable: a copy of a template's some hundred files takes a tenth there."""
    volatile = settings.get("fsync") == "off"
    return MEMORY if volatile and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES else None


def _unprivileged() -> pwd.struct_passwd | None:
    """Who the server runs as, where that is not ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ("postgres", "nobody") if name in known)


@contextmanager
def own_server() -> Iterator[PostgresServer]:
    """A server to kill, as long as the block lasts. Skips the test where PostgreSQL is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: neither pg_config nor initdb is found (Debian's package is `postgresql`)")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of this process; each takes a database of its own."""
    with own_server() as server:
        yield server
