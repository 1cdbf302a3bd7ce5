"""Claims that wait for work, and which of them are called when there may be some.

However many wait in this process, one look is taken for all of them: when work may have come, and now and then. Claims
are told apart by what their workers can do, not by who they are, since a study requires nothing else: what one of a
kind cannot have, none of that kind can. From the kinds that there is something for, those who wait longest are called
to claim: one, and as long as they get jobs, twice as many each time, up to a few at once; one that got none has all
looked at again.

Why no job is left while somebody waits who may have it: whatever makes a job claimable rings after its commit, and a
look that began after the last ring said for each kind of those who wait that there is nothing, or else one of that kind
is called, or another look is due. Rings of other services, or none at all, only make it later, by the time between
two looks at most.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Literal

from sqlalchemy import exists, select
from starlette.concurrency import run_in_threadpool

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling import fleet
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.bell import Ear
from service.scheduling.choosing import choose, ripe
from service.storage.engine import is_away

__all__ = ["Call", "Place", "WaitingRoom"]

log = logging.getLogger(__name__)

Call = Literal["look", "draining", "left"]
"""What somebody who waits is told: that there may be a job; or that there is none for this worker, whatever comes."""

_AT_ONCE = 4
"""So many who were called look for a job at the same time, at most."""
_TOGETHER_SECONDS = 0.02
"""What rings within this time is looked into together."""
_LONGEST_PAUSE_SECONDS = 0.5
_CALLED = "called"
"""A topic that nobody rings: who waits is woken one by one, and all of them when the bell is closed."""


class Place:
    """One claim that waits, or looks for a job."""

    def __init__(self, room: WaitingRoom, request: ClaimRequest, ear: Ear, ticket: int) -> None:
        self.request = request
        self.ear = ear
        self.ticket = ticket
        self.call: Call | None = None
        self.generation = 0
        self._room = room

    @cached_property
    def kind(self) -> str:
        """Of what the worker says, all but its name, its patience, and what it would rather have."""
        return self.request.model_dump_json(exclude={"worker", "name", "wait_seconds", "holds"})

    async def rest(self, deadline: float, wanted: Callable[[], Awaitable[bool]]) -> Call | None:
        """Wait to be called, after a look in vain.

        Args:
            deadline: by the monotonic clock.
            wanted: whether somebody still waits for the answer; asked before a call is answered, and now and then.

        Returns:
            The call; None where the time is over, the service stops, or the answer is not wanted any more.
        """
        self._room.seat(self)
        while True:
            self.ear.clear()
            if self.call is not None:
                break
            left = deadline - time.monotonic()
            if left <= 0 or self._room.closed or not await wanted():
                break
            await self.ear.wait(min(left, self._room.look_seconds))
        self._room.rise(self)
        return self.call if self.call != "look" or await wanted() else None


class WaitingRoom:
    """Of one process. Its places may be in any event loop; :meth:`attend` runs in one.

    Args:
        backend: the stores and the bell.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._tickets = itertools.count()
        self._resting: set[Place] = set()
        self._fruitful: frozenset[str] = frozenset()
        """Kinds that there was something for when it was looked last."""
        self._looking, self._at_once = 0, 1
        self._in_vain = 0
        self._generation = 0
        self._attendant: Ear | None = None
        self.look_seconds = backend.settings.poll_seconds
        backend.bell.follow(self._rung)

    @property
    def closed(self) -> bool:
        """Whether nobody is called any more."""
        return self._backend.bell.closed

    @contextmanager
    def entered(self, request: ClaimRequest) -> Iterator[Place]:
        """A place while the block lasts, which begins with a look for a job."""
        with self._backend.bell.listening(_CALLED) as ear:
            place = Place(self, request, ear, next(self._tickets))
            with self._lock:
                place.generation = self._generation
            try:
                yield place
            finally:
                self._leave(place)

    def seat(self, place: Place) -> None:
        """A look was in vain."""
        with self._lock:
            if place.call == "look":
                self._in_vain, self._at_once = self._in_vain + 1, 1
                self._fruitful -= {place.kind}
                self._looked()
            elif place.generation != self._generation:  # there may have come something that the look was too early for
                self._look_again()
            place.call = None
            self._resting.add(place)

    def rise(self, place: Place) -> None:
        """Its wait is over."""
        with self._lock:
            self._resting.discard(place)
            place.generation = self._generation

    def found(self, place: Place) -> None:
        """Its look found a job: there may be more."""
        with self._lock:
            if place.call == "look":
                place.call = None
                self._in_vain, self._at_once = 0, min(2 * self._at_once, _AT_ONCE)
                self._looking -= 1
                self._fill()
                if self._looking < self._at_once and self._resting:
                    self._look_again()

    async def attend(self) -> None:
        """Look when something was rung, and now and then, until cancelled."""
        with self._backend.bell.listening(JOBS) as ear:
            self._attendant = ear
            noted = time.monotonic()
            while not self.closed:
                await ear.wait(self.look_seconds)
                ear.clear()
                try:
                    await self._look()
                    if time.monotonic() - noted >= self.look_seconds:
                        noted = time.monotonic()
                        await self._note_presence()
                except Exception as problem:
                    if not is_away(problem):
                        log.exception("those who wait for work could not be looked after; it will be tried again")
                pause = _TOGETHER_SECONDS * 2 ** min(self._in_vain, 10)
                await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))

    async def _look(self) -> None:
        with self._lock:
            places = sorted(self._resting, key=_ticket)
        if not places:
            return
        kinds = {place.kind: place.request for place in reversed(places)}
        gone, fruitful = await run_in_threadpool(self._looked_up, dict(reversed(kinds.items())), places)
        with self._lock:
            for place in places:
                if place.request.worker in gone and place in self._resting:
                    self._call(place, gone[place.request.worker])
            self._fruitful = fruitful
            if not fruitful:
                self._in_vain = 0
            self._fill()
            if len(fruitful) == _AT_ONCE and self._looking < self._at_once and self._resting:
                self._look_again()  # some have left meanwhile, and not all kinds were asked for

    def _looked_up(
        self, kinds: Mapping[str, ClaimRequest], places: list[Place]
    ) -> tuple[dict[str, Literal["draining", "left"]], frozenset[str]]:
        """Which workers may have nothing, and which kinds something; of these no more than can be called."""
        with self._backend.reading() as session:
            gone = fleet.out_of_work(session, {place.request.worker for place in places})
            if not session.scalar(select(exists().where(*ripe(now(session))))):
                return gone, frozenset()
            there = (kind for kind, request in kinds.items() if choose(session, request) is not None)
            return gone, frozenset(itertools.islice(there, _AT_ONCE))

    async def _note_presence(self) -> None:
        with self._lock:
            workers = {place.request.worker for place in self._resting}
        if workers:
            await run_in_threadpool(fleet.still_there, self._backend, workers)

    def _rung(self, topic: str | None) -> None:
        if topic is None or topic == JOBS:
            with self._lock:
                self._generation += 1

    def _leave(self, place: Place) -> None:
        """Who was called and did not look to the end has somebody else called."""
        with self._lock:
            self._resting.discard(place)
            if place.call == "look":
                self._looked()

    def _looked(self) -> None:
        self._looking -= 1
        self._fill()
        self._look_again()

    def _look_again(self) -> None:
        if self._attendant is not None:
            self._attendant.wake()

    def _fill(self) -> None:
        """Call those who wait longest of the kinds that there is something for."""
        if self._looking < self._at_once and self._fruitful:
            able = (place for place in self._resting if place.kind in self._fruitful)
            for place in sorted(able, key=_ticket)[: self._at_once - self._looking]:
                self._looking += 1
                self._call(place, "look")

    def _call(self, place: Place, call: Call) -> None:
        self._resting.discard(place)
        place.call = call
        place.ear.wake()


def _ticket(place: Place) -> int:
    return place.ticket
