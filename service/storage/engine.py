"""Engines and transactions.

Ownership: a :class:`Database` owns one connection pool; who made it closes it. A session lives exactly as long as
its ``with`` block; rows must not be used after it, so what leaves a block are wire shapes or plain values.

Atomicity: ``writing()`` commits everything in its block or nothing. On SQLite such a block takes the write lock at
its beginning (``BEGIN IMMEDIATE``), so that a read in it cannot grow stale before the write; and writers of this
process queue on a lock of ours first, because SQLite's own way of waiting is to sleep and try again. On PostgreSQL it
is ``READ COMMITTED``: what a write depends on is locked (``with_for_update``), and read anew when it is; a lock is
waited for as long as SQLite waits for its own.

Isolation: ``reading()`` sees one snapshot, from its first query on: SQLite's own way with WAL, ``REPEATABLE READ READ
ONLY`` on PostgreSQL. It never waits for a writer and never makes one wait. ``looking()`` gives that up for less work:
there is no transaction to begin and to end, and each of its queries sees what was committed before it.

Processes: an SQLite file belongs to one service, beside which another may still be going; a PostgreSQL database may be
shared by several. What only one of them may do at a time is done under :meth:`Database.alone`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from service.storage.brief_cursor import BriefCursor
from service.storage.task_locks import FileLocks, ServerLocks, TaskLocks

__all__ = ["Database", "engine_options", "is_away", "prepare_engine"]

log = logging.getLogger(__name__)

BUSY_SECONDS = 30.0
_WRITES = "ranksearch_writes"
_LOOKS = "ranksearch_looks"
_RESTS_SINCE = "ranksearch_rests_since"
_REST_SECONDS = 1.0
"""A connection that was unused for longer is asked whether it lives before it is used."""
_POSTGRESQL = {
    "application_name": "ranksearch",
    # Otherwise the database's own encoding is spoken, and where that is SQL_ASCII psycopg gives bytes for text, which
    # SQLAlchemy's first question to a server does not expect.
    "client_encoding": "utf8",
    "connect_timeout": 10,
    # A server that vanished is noticed after a minute, not after the two hours that systems wait by themselves.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # A replica that froze in the middle of a transaction gives its locks free; nobody waits for one for ever.
    # What is prepared is planned anew each time: with a plan for any values, made while a table was small, a claim
    # beside a thousand studies was seen to take 50 ms instead of 32.
    "options": f"-c lock_timeout={BUSY_SECONDS:.0f}s -c idle_in_transaction_session_timeout={BUSY_SECONDS:.0f}s"
    " -c plan_cache_mode=force_custom_plan",
}
"""Of libpq; members of the URL's query have precedence."""


def is_away(problem: BaseException) -> bool:
    """Whether the database did not answer, or not in time, so that the same may succeed in a moment."""
    lost = isinstance(problem, DBAPIError) and problem.connection_invalidated
    return lost or isinstance(problem, OperationalError | PoolTimeout)


def engine_options(url: str) -> dict[str, Any]:
    """What ``create_engine`` is to be told about ``url``; its errors, which are logged, do not show values."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS}, "hide_parameters": True}
    given = set(parsed.query)
    return {
        "connect_args": {name: value for name, value in _POSTGRESQL.items() if name not in given},
        "isolation_level": "READ COMMITTED",
        "hide_parameters": True,
    }


def prepare_engine(engine: Engine, *, always_immediate: bool = False) -> None:
    """Give an SQLite engine WAL, a busy timeout, foreign keys and explicit BEGINs; others a look at idle connections.

    Args:
        engine: any engine; connections that its pool holds already are dropped.
        always_immediate: take the write lock in every transaction; otherwise only in those of an engine with
            the execution option that ``Database.writing`` sets.
    """
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, always_immediate=always_immediate)
    else:
        _ask_after_rest(engine)
        _describe_when_read(engine)
    engine.dispose()


def _ask_after_rest(engine: Engine) -> None:
    """Never hand out a connection that died while it rested; one more round trip for those in use would be felt."""

    @event.listens_for(engine, "checkin")
    def _checkin(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        entry.info[_RESTS_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checkout(connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        since = entry.info.get(_RESTS_SINCE)
        if since is None or time.monotonic() - since < _REST_SECONDS:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise InvalidatePoolError  # which drops all connections that are older than this moment, and tries anew


def _describe_when_read(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        raw: Any = connection
        raw.cursor_factory = BriefCursor


def _prepare_sqlite(engine: Engine, *, always_immediate: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        raw: Any = connection
        raw.isolation_level = None  # the driver's own BEGIN comes too late for IMMEDIATE
        for pragma in (
            f"busy_timeout={int(BUSY_SECONDS * 1000)}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if always_immediate or options.get(_WRITES):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif not options.get(_LOOKS):
            connection.exec_driver_sql("BEGIN")


class _WritingSession(Session):
    """A session in which a row that is locked is a row that is read anew."""


@event.listens_for(_WritingSession, "do_orm_execute")
def _read_what_is_locked(state: ORMExecuteState) -> None:
    """A row that the session has seen before keeps, by itself, the values of that time, however it is locked now."""
    if state.is_select and getattr(state.statement, "_for_update_arg", None) is not None:
        state.update_execution_options(populate_existing=True)


class Database:
    """Our tables' database.

    Args:
        url: SQLAlchemy URL; SQLite and PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = create_engine(url, pool_size=20, max_overflow=40, **engine_options(url))
        prepare_engine(self.engine)
        snapshot = {} if sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self.reading_engine = self.engine.execution_options(**snapshot)
        alone = {_LOOKS: True} if sqlite else {"isolation_level": "AUTOCOMMIT"}
        self.looking_engine = self.engine.execution_options(**alone)
        self.writing_engine = self.engine.execution_options(**{_WRITES: True})
        self._write_lock = threading.RLock() if sqlite else None
        self.is_shared = not sqlite
        """Whether other processes may be at work on the same database."""
        self._tasks = _task_locks(url)

    def connect_arguments(self) -> dict[str, Any]:
        """What psycopg is to be given for a connection of one's own to a shared database."""
        _, named = self.engine.dialect.create_connect_args(self.engine.url)
        return {**named, **engine_options(self.url)["connect_args"]}

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot, for reading only."""
        with Session(self.reading_engine, expire_on_commit=False) as session:
            yield session
            if self.is_shared and session.is_active:
                session.commit()  # a rollback, the usual end, has psycopg forget what the server has prepared

    @contextmanager
    def looking(self) -> Iterator[Session]:
        """A session for reading what is looked at again, under locks, before anything is done on the strength of it."""
        with Session(self.looking_engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, rolled back when it raises."""
        with (
            self.one_writer(),
            _WritingSession(self.writing_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def one_writer(self) -> Iterator[None]:
        """The queue of this process's writers on SQLite; nothing elsewhere. Re-entrant."""
        with self._write_lock or nullcontext():
            yield

    @contextmanager
    def alone(self, task: str, *, patient: bool = False) -> Iterator[None]:
        """Hold a lock on ``task`` that only one holder can have, of all services on this database.

        It ends with this process or its connection, however they end.

        Args:
            task: any words.
            patient: wait for as long as it takes, and hold it for as long as it takes; otherwise each is bounded.
        """
        with self._tasks.hold(task, patient=patient):
            yield

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self._tasks.close()


def _task_locks(url: str) -> TaskLocks:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return FileLocks(Path(str(parsed.database)), BUSY_SECONDS)
    # Its connections are asked whether they live, however short they rested: nothing here can be done again.
    engine = create_engine(url, pool_size=2, max_overflow=-1, pool_pre_ping=True, **engine_options(url))
    prepare_engine(engine)
    return ServerLocks(engine)
