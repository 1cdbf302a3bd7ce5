"""The events of studies, read once for all who watch them here.

However many streams of a study are open in this process, one task reads what is new, makes its lines once, and wakes
the streams, which take them from memory. Memory holds the newest lines only: a stream that is further behind, because
it has just been opened, or its client reads slowly, takes what it lacks from the database at its own pace and is with
the others again once it has reached what memory holds. Nobody waits for anybody.

Whether those who watch still may is asked once a second for all of them together.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.studies import Event
from service.access.principal import LOCAL, Principal
from service.access.verification import Verifier
from service.access.visibility import projects_of_studies
from service.scheduling.backend import Backend, study_topic
from service.scheduling.bell import Bell, Ear
from service.scheduling.events import events_after
from service.storage.engine import is_away

__all__ = ["Part", "Recent", "Relay", "Watch", "part_of"]

log = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0
"""A stream ends so long after its token was revoked or has expired, at most, besides what the look itself takes."""
_TOGETHER_SECONDS = 0.1
"""Events that follow each other faster than this are read together: an event that comes alone never waits."""
_BATCH = 200
"""Events that are read at once."""
_KEPT_BYTES = 256 * 1024
"""Of the newest lines of a study; the newest event is kept whatever its size."""
_PART_BYTES = 64 * 1024
"""What a stream is given at once, unless one event is larger."""


@dataclass(frozen=True)
class Part:
    """Some lines for a stream, and the number of the last event among them."""

    last: int
    text: bytes


class Recent:
    """The newest lines of a study: of all events above ``floor``, up to ``last``. Safe to use from several threads.

    Args:
        last: the number of the newest event when it begins, empty.
        most: bytes to be kept.
    """

    def __init__(self, last: int, most: int) -> None:
        self.floor = self.last = last
        self._most = most
        self._lines: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """What came next; the oldest are dropped where it gets too much."""
        with self._lock:
            for number, line in lines:
                self._lines.append((number, line))
                self._bytes += len(line)
                self.last = number
            while self._bytes > self._most and len(self._lines) > 1:
                self.floor, dropped = self._lines.popleft()
                self._bytes -= len(dropped)

    def after(self, number: int) -> Part | None:
        """The next lines of a stream that was given everything up to ``number``; None where it must look elsewhere."""
        with self._lock:
            if number < self.floor:
                return None
            if number >= self.last:
                return Part(number, b"")
            return _joined([(at, line) for at, line in self._lines if at > number], number)


class _Channel:
    """A study that is watched here.

    ``known`` is the number of the newest event that any of its streams knew of when it came. ``over``: it has no more
    lines than ``recent`` has; ``problem``: why, where nobody foresaw that.
    """

    def __init__(self, study: str, recent: Recent) -> None:
        self.study = study
        self.recent = recent
        self.known = recent.last
        self.watches: set[Watch] = set()
        self.reader: Future[None] | None = None
        self.over = False
        self.problem: Exception | None = None


class Watch:
    """One stream. Clear its ear, look for lines and for whether it is over, wait.

    Args:
        caller: whose it is.
        channel: of its study.
        ear: rung when there is something new.
    """

    def __init__(self, caller: Principal, channel: _Channel, ear: Ear) -> None:
        self.caller = caller
        self.channel = channel
        self.ear = ear
        self.dismissed = False

    def after(self, number: int) -> Part | None:
        """See :meth:`Recent.after`."""
        return self.channel.recent.after(number)

    @property
    def floor(self) -> int:
        """Where memory begins."""
        return self.channel.recent.floor

    @property
    def over(self) -> bool:
        """Whether a stream that has all lines gets no more; read it before looking for lines.

        Raises:
            Exception: what kept the reader from going on.
        """
        if self.channel.problem is not None:
            raise self.channel.problem
        return self.channel.over


class Relay:
    """Reads for all streams of this process; made, and ended, in the event loop that its readers run in.

    Args:
        backend: the stores and the bell.
        verifier: knows whose token still opens something.
        kept_bytes: of each study that is watched.
    """

    def __init__(self, backend: Backend, verifier: Verifier, kept_bytes: int = _KEPT_BYTES) -> None:
        self._backend = backend
        self._verifier = verifier
        self._kept_bytes = kept_bytes
        self._loop = asyncio.get_running_loop()
        self._news = Bell()
        self._channels: dict[str, _Channel] = {}
        self._readers: set[Future[None]] = set()
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, caller: Principal, study: str, last: int) -> Iterator[Watch]:
        """Have a study read while the block lasts, by whoever was first; in any event loop.

        Args:
            caller: who was seen to be allowed to watch it a moment ago.
            study: its id.
            last: the number of its newest event, a moment ago.
        """
        with self._news.listening(study) as ear:
            with self._lock:
                channel = self._channels.get(study)
                if channel is None:
                    channel = self._channels[study] = _Channel(study, Recent(last, self._kept_bytes))
                    self._start(channel)
                channel.known = max(channel.known, last)
                watch = Watch(caller, channel, ear)
                channel.watches.add(watch)
                self._watches.add(watch)
            try:
                yield watch
            finally:
                with self._lock:
                    self._watches.discard(watch)
                    channel.watches.discard(watch)
                    if not channel.watches:
                        self._forget(channel)
                        if channel.reader is not None:
                            channel.reader.cancel()

    async def examine_now_and_then(self) -> None:
        """End the streams of those who may see their study no longer, and of studies that were deleted."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            with self._lock:
                watches = list(self._watches)
            if not watches:
                continue
            try:
                gone = await run_in_threadpool(self._gone, watches)
            except Exception as problem:  # streams go on, and their readers say more where it is the database
                if not is_away(problem):
                    log.exception("whether the streams' callers still may watch could not be looked up")
                continue
            for watch in gone:
                watch.dismissed = True
                watch.ear.wake()

    async def close(self) -> None:
        """Let the readers come to their end; the bell is closed."""
        with self._lock:
            readers = list(self._readers)
        await asyncio.gather(*map(asyncio.wrap_future, readers), return_exceptions=True)

    def _start(self, channel: _Channel) -> None:
        nobodys = contextvars.Context()  # it reads for all: its log lines are of no one's request
        reader = nobodys.run(asyncio.run_coroutine_threadsafe, self._read(channel), self._loop)
        channel.reader = reader
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read(self, channel: _Channel) -> None:
        """Until there will be nothing more, or nobody watches."""
        try:
            with self._backend.bell.listening(study_topic(channel.study)) as ear:
                while not (self._backend.bell.closed or channel.over):
                    ear.clear()
                    began = time.monotonic()
                    count = await run_in_threadpool(self._look, channel)
                    if count:
                        self._news.ring(channel.study)
                    if count == _BATCH or channel.over:
                        continue
                    await ear.wait(self._backend.settings.poll_seconds)
                    await asyncio.sleep(max(0.0, began + _TOGETHER_SECONDS - time.monotonic()))
        except Exception as problem:
            log.exception("the events of study=%s cannot be read", channel.study)
            channel.problem = problem
        finally:
            with self._lock:  # who comes from now on finds a new beginning, not this end
                self._forget(channel)
                channel.over = True
            self._news.ring(channel.study)

    def _look(self, channel: _Channel) -> int:
        """Take in what is new. Returns how many events there were."""
        try:
            events, ended = events_after(self._backend, LOCAL, channel.study, channel.recent.last, _BATCH)
        except NotFoundError:  # it was deleted
            events, ended, channel.known = [], True, 0
        except SQLAlchemyError as problem:
            if not is_away(problem):
                raise
            log.warning("the database is away, and the streams of %s wait for it: %s", channel.study, problem)
            return 0
        channel.recent.add([(event.id, _written(event)) for event in events])
        with self._lock:
            # Who came since this look began may know of more: then the study goes on, and the bell was rung.
            channel.over = ended and channel.recent.last >= channel.known
            if channel.over:
                self._forget(channel)
        return len(events)

    def _gone(self, watches: Sequence[Watch]) -> list[Watch]:
        closed = self._verifier.closed({watch.caller.token for watch in watches if watch.caller.token is not None})
        with self._backend.reading() as session:
            projects = projects_of_studies(session, {watch.channel.study for watch in watches})
        return [
            watch
            for watch in watches
            if watch.caller.token in closed or not _sees(watch.caller, projects.get(watch.channel.study))
        ]

    def _forget(self, channel: _Channel) -> None:
        if self._channels.get(channel.study) is channel:
            del self._channels[channel.study]


def part_of(events: Sequence[Event], after: int) -> Part:
    """The lines of events that somebody read for a stream alone, as many as it is to be given at once."""
    return _joined([(event.id, _written(event)) for event in events], after)


def _joined(lines: Sequence[tuple[int, bytes]], after: int) -> Part:
    taken: list[bytes] = []
    size, last = 0, after
    for number, line in lines:
        if taken and size + len(line) > _PART_BYTES:
            break
        taken.append(line)
        size, last = size + len(line), number
    return Part(last, b"".join(taken))


def _sees(caller: Principal, project: str | None) -> bool:
    return project is not None and (caller.sees_all or project == caller.project)


def _written(event: Event) -> bytes:
    data = json.dumps(event.model_dump(mode="json", by_alias=True), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode()
