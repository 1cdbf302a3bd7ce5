"""Engines and transactions.

Ownership: a :class:`Database` owns one connection pool; who made it closes it. A session lives exactly as long as
its ``with`` block; rows must not be used after it, so what leaves a block are wire shapes or plain values.

Atomicity: ``writing()`` commits everything in its block or nothing. On SQLite such a block takes the write lock at
its beginning (``BEGIN IMMEDIATE``), so that a read in it cannot grow stale before the write; and writers of this
process queue on a lock of ours first, because SQLite's own way of waiting is to sleep and try again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["BUSY_SECONDS", "Database", "prepare_engine"]

BUSY_SECONDS = 30.0
_WRITES = "ranksearch_writes"


def prepare_engine(engine: Engine, *, always_immediate: bool = False) -> None:
    """Give an SQLite engine WAL, a busy timeout, foreign keys and explicit BEGINs; others are left alone.

    Args:
        engine: any engine; connections that its pool holds already are dropped.
        always_immediate: take the write lock in every transaction; otherwise only in those of an engine with
            the execution option that ``Database.writing`` sets.
    """
    if engine.dialect.name != "sqlite":
        return

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
        immediate = always_immediate or connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    engine.dispose()


class Database:
    """Our tables' database.

    Args:
        url: SQLAlchemy URL; SQLite and PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = make_url(url).get_backend_name() == "sqlite"
        connect: dict[str, Any] = {"check_same_thread": False} if sqlite else {}
        self.engine = create_engine(url, connect_args=connect, pool_size=20, max_overflow=40, pool_pre_ping=not sqlite)
        prepare_engine(self.engine)
        self.writing_engine = self.engine.execution_options(**{_WRITES: True})
        self._write_lock = threading.RLock() if sqlite else None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot, for reading only."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, rolled back when it raises."""
        with (
            self.one_writer(),
            Session(self.writing_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def one_writer(self) -> Iterator[None]:
        """The queue of this process's writers on SQLite; nothing elsewhere. Re-entrant."""
        with self._write_lock or nullcontext():
            yield

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
