"""Wakes those who wait for something in this process: long polls and event streams.

A ring carries nothing and may be missed; whoever waits looks into the database again, and does so now and then
without being woken, too. Between processes that share a database rings are carried by :mod:`.shared_bell`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

__all__ = ["Bell", "Ear"]


class Ear:
    """One waiter. Clear it, look, wait: a ring between looking and waiting is not lost."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def clear(self) -> None:
        """Forget earlier rings."""
        if not self._bell.closed:
            self._event.clear()

    @property
    def rung(self) -> bool:
        """Whether it was rung since it was cleared."""
        return self._event.is_set()

    async def wait(self, seconds: float) -> None:
        """Return when rung, when the bell is closed, or after ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()

    def wake(self) -> None:
        """Ring, from any thread."""
        with suppress(RuntimeError):  # its loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)


class Bell:
    """Topics that can be rung from any thread and listened to in any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: dict[str, set[Ear]] = defaultdict(set)
        self._followers: list[Callable[[str | None], None]] = []
        self.closed = False

    @contextmanager
    def listening(self, topic: str) -> Iterator[Ear]:
        """An ear for ``topic`` while the block lasts."""
        ear = Ear(self)
        with self._lock:
            self._ears[topic].add(ear)
        if self.closed:
            ear.wake()
        try:
            yield ear
        finally:
            with self._lock:
                self._ears[topic].discard(ear)
                if not self._ears[topic]:
                    del self._ears[topic]

    def follow(self, follower: Callable[[str | None], None]) -> None:
        """Have ``follower`` called with every topic that is rung; with None where rings may have been missed."""
        self._followers.append(follower)

    def ring(self, topic: str) -> None:
        """Wake all who listen to ``topic``."""
        for follower in self._followers:
            follower(topic)
        with self._lock:
            ears = list(self._ears.get(topic, ()))
        for ear in ears:
            ear.wake()

    def ring_all(self) -> None:
        """Wake everybody: rings may have been missed."""
        for follower in self._followers:
            follower(None)
        self._wake_all()

    def rings_elsewhere(self, topics: Collection[str]) -> Sequence[str]:  # noqa: ARG002 - others have use for it
        """What a transaction must send for these to ring in other processes, too. Here there are none."""
        return ()

    async def hear(self) -> None:
        """Take in what other processes ring, until cancelled. Here there are none."""

    def close(self) -> None:
        """The service stops: wake everybody, and let nobody sleep again."""
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            ears = [ear for topic in self._ears.values() for ear in topic]
        for ear in ears:
            ear.wake()
