"""Locks on tasks, for which every service on one database is asked: who holds one is alone at its task.

They end with the process or the connection that holds them, however it ends: nothing has to be cleared away.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as LockTimeout

__all__ = ["FileLocks", "ServerLocks", "TaskLocks"]

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 0.01


class TaskLocks(Protocol):
    """Locks that only one holder can have, in this process or another."""

    def hold(self, task: str, *, patient: bool) -> AbstractContextManager[None]:
        """Hold the lock on ``task``, any words.

        Args:
            task: what the holder is alone at.
            patient: wait for as long as it takes, and hold it for as long as it takes; otherwise each may be bounded.

        Raises:
            SQLAlchemyError: it was not to be had in time.
        """
        ...

    def close(self) -> None:
        """Give back what the locks themselves hold."""
        ...


class FileLocks:
    """Of an SQLite database: one empty file beside it for each task, locked with ``flock(2)``.

    Args:
        database: the database's file.
        seconds: how long the impatient wait.
    """

    def __init__(self, database: Path, seconds: float) -> None:
        self._database = database
        self._seconds = seconds

    @contextmanager
    def hold(self, task: str, *, patient: bool) -> Iterator[None]:
        """Each block opens the file anew, so that two threads of a process exclude one another as processes do."""
        mark = hashlib.sha256(task.encode()).hexdigest()[:8]
        with self._database.with_name(f"{self._database.name}-{mark}.lock").open("ab") as file:
            if patient:
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                self._wait(file.fileno(), task)
            yield

    def _wait(self, file: int, task: str) -> None:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockTimeout(f"another service has been at {task!r} for {self._seconds:.0f} s") from None
                time.sleep(_LOOK_EVERY_SECONDS)

    def close(self) -> None:
        """Nothing is open outside of a block."""


class ServerLocks:
    """Of a PostgreSQL database: advisory locks, each held by the transaction of a connection.

    Args:
        engine: a pool for them alone: who holds a lock needs a second connection for the work, and in one pool those
            who hold could wait for those who want to. It is closed with the locks.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def hold(self, task: str, *, patient: bool) -> Iterator[None]:
        """The bounds of the impatient are the connection's own."""
        with self._engine.connect() as connection:
            if patient:
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(task, 0))))
            yield
            try:
                connection.rollback()
            except DBAPIError:
                log.warning("the lock on %r was lost before it was given back", task, exc_info=True)

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()
