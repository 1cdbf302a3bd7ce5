"""A bell that is heard by every service on the same PostgreSQL database, by its LISTEN and NOTIFY.

A ring is sent within the transaction that it tells of: PostgreSQL delivers it at the commit, and not at all where there
is none. Each process hears with one connection of its own; while that is lost, rings are missed, so once it stands
again everybody is woken.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Sequence

import psycopg

from service.scheduling.bell import Bell
from service.scheduling.last_words import CHANNEL
from service.storage.engine import Database

__all__ = ["SharedBell"]

log = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 5.0


class SharedBell(Bell):
    """As its base, with :meth:`hear` running.

    Args:
        database: on PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._name = secrets.token_hex(6)  # of this process, which wakes its own waiters without a detour

    def rings_elsewhere(self, topics: Collection[str]) -> Sequence[str]:
        """See :class:`Bell`."""
        return [f"{self._name} {topic}" for topic in sorted(topics)]

    async def hear(self) -> None:
        """See :class:`Bell`."""
        pause = 0.0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    **self._database.connect_arguments(), autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    pause = 0.0
                    await self._listen(connection)
            except psycopg.Error as problem:
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause + 0.1)
                log.warning("the connection that hears of other services is lost; again in %.1f s: %s", pause, problem)
            await asyncio.sleep(pause)

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        """Ring as long as the connection stands.

        Straight from libpq: psycopg's ``notifies()`` makes a task and timers for each, and there are some per trial.

        Raises:
            psycopg.Error: it is lost.
        """
        loop, server = asyncio.get_running_loop(), connection.pgconn
        lost: asyncio.Future[None] = loop.create_future()

        def arrived() -> None:
            try:
                server.consume_input()
                while (notification := server.notifies()) is not None:
                    self._heard(notification.extra.decode())
            except psycopg.Error as problem:
                if not lost.done():
                    lost.set_exception(problem)

        socket = connection.fileno()
        loop.add_reader(socket, arrived)
        try:
            self.ring_all()  # for all that was rung before this connection stood
            await lost
        finally:
            loop.remove_reader(socket)

    def _heard(self, payload: str) -> None:
        sender, _, topic = payload.partition(" ")
        if sender != self._name:
            self.ring(topic)
