from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update
from starlette.concurrency import run_in_threadpool

from ranksearch.contracts.errors import AccessError
from ranksearch.contracts.jobs import ClaimRequest
from service.access.principal import LOCAL
from service.access.verification import Verifier
from service.api import jobs
from service.scheduling.waiting_room import WaitingRoom
from service.storage.tables import WorkerRow
from service.version import VERSION
from tests.service import synthetic
from tests.service.access_stories import token_for

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])
"""What is decided in memory, whichever the database."""
SECONDS = 30.0
"""Far above what anything here takes."""


@pytest.fixture
def looks(monkeypatch):
    """How often each worker looked for a job."""
    counted, claim = Counter(), jobs.claim

    def counting(backend, request):
        counted[request.worker] += 1
        return claim(backend, request)

    monkeypatch.setattr(jobs, "claim", counting)
    return counted


@asynccontextmanager
async def waiting_room(service):
    """One in a loop of the test's own, beside that of the service."""
    room = WaitingRoom(service.backend)
    attending = asyncio.create_task(room.attend())
    yield room
    attending.cancel()
    await asyncio.gather(attending, return_exceptions=True)


def enter(service, room, name, *, caller=LOCAL, wait=SECONDS, connected=lambda: True, **abilities):
    """A claim that waits; the task of its answer."""

    async def is_disconnected():
        return not connected()

    request = SimpleNamespace(is_disconnected=is_disconnected)
    wanted = ClaimRequest(worker=name, name=name, device="cpu", version=VERSION, wait_seconds=wait, **abilities)
    verifier = Verifier(service.backend.database, fresh_seconds=0)
    look = partial(run_in_threadpool, jobs._look, service.backend, verifier, caller, wanted)
    return asyncio.create_task(jobs._wait_for_job(request, service.backend, room, look, wanted))


async def seated(room, count, place=None):
    """So many wait, having found nothing."""
    async with asyncio.timeout(SECONDS):
        while len(room._resting) < count:
            assert place is None or not place.done(), place.result()
            await asyncio.sleep(0.005)


async def enter_some(service, room, names, **options):
    """They come one after another, so that they wait in this order."""
    places = {}
    for name in names:
        before = len(room._resting)
        places[name] = enter(service, room, name, **options)
        await seated(room, before + 1, places[name])
    return places


def queue_jobs(service, salts):
    """So many jobs that any worker can do."""
    for salt in salts:
        assert service.upload_model(synthetic.model_document(salt=salt)).status_code == 201


async def those_with_a_job(places, count):
    """The names of those who have one, once there are so many."""
    async with asyncio.timeout(SECONDS):
        while sum(place.done() for place in places.values()) < count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    return {name: place.result().job.id for name, place in places.items() if place.done()}


async def end(places):
    for place in places.values():
        place.cancel()
    await asyncio.gather(*places.values(), return_exceptions=True)


def test_one_job_wakes_few_of_many_who_wait(service, looks):
    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, [f"w{at}" for at in range(25)])
            looks.clear()
            await asyncio.to_thread(queue_jobs, service, [1])
            first = await those_with_a_job(places, 1)
            await seated(room, 24)
            await end(places)
            return list(first)

    assert asyncio.run(story()) == ["w0"]  # who waits longest
    assert looks.total() <= 4  # it, and somebody who found that there were no more


def test_as_many_jobs_as_wait_are_all_claimed(service):
    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, [f"w{at}" for at in range(12)])
            await asyncio.to_thread(queue_jobs, service, range(12))
            claimed = await those_with_a_job(places, 12)
            return set(claimed.values())

    assert len(asyncio.run(story())) == 12


def test_a_job_goes_to_the_one_who_can_do_it_past_all_who_cannot(service, looks):
    service.prepare()

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, [f"w{at}" for at in range(6)])
            places |= await enter_some(service, room, ["berlin"], labels={"site": "berlin"})
            looks.clear()
            await asyncio.to_thread(service.submit, requirements={"labels": {"site": "berlin"}})
            claimed = await those_with_a_job(places, 1)
            await end(places)
            return list(claimed)

    assert asyncio.run(story()) == ["berlin"]
    assert set(looks) == {"berlin"}


@on_sqlite
def test_workers_of_many_kinds_are_all_called(service):
    async def story():
        async with waiting_room(service) as room:
            places = {}
            for at in range(10):
                places |= await enter_some(service, room, [f"w{at}"], labels={"host": str(at)})
            await asyncio.to_thread(queue_jobs, service, range(10))
            return await those_with_a_job(places, 10)

    assert len(set(asyncio.run(story()).values())) == 10


@on_sqlite
def test_who_has_gone_when_called_gives_the_turn_to_the_next(service, looks):
    there = {"first": True}

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["first"], connected=lambda: there["first"])
            places |= await enter_some(service, room, ["second"])
            looks.clear()
            there["first"] = False
            await asyncio.to_thread(queue_jobs, service, [1])
            await asyncio.wait_for(places["second"], SECONDS)
            return places["first"].result(), places["second"].result()

    first, second = asyncio.run(story())
    assert first is None
    assert second.job.task.kind == "inspect"
    assert set(looks) == {"second"}


@on_sqlite
def test_a_token_that_was_revoked_while_it_waited_gets_no_job(service):
    verifier = Verifier(service.backend.database)
    caller = verifier.token(token_for(service, "ada", "default", "work", token="tok_a")).caller  # noqa: S106 - an id

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["revoked"], caller=caller)
            places |= await enter_some(service, room, ["good"])
            await asyncio.to_thread(service.http.delete, "/v1/tokens/tok_a")
            await asyncio.to_thread(queue_jobs, service, [1])
            found = await asyncio.wait_for(places["good"], SECONDS)
            with pytest.raises(AccessError, match="revoked"):
                await places["revoked"]
            return found.job.task.kind

    assert asyncio.run(story()) == "inspect"


@pytest.mark.parametrize(("change", "answer"), [("left", None), ("draining", "draining")])
def test_who_is_to_get_no_more_is_told_so(service, looks, change, answer):
    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["a", "b", "c"])
            looks.clear()
            with service.backend.writing() as session:
                session.execute(update(WorkerRow).where(WorkerRow.id == "b").values({change: True}))
                service.backend.ring_after(session, "jobs")
            told = await asyncio.wait_for(places.pop("b"), SECONDS)
            others = [place.done() for place in places.values()]
            await end(places)
            return told, others

    assert asyncio.run(story()) == (answer, [False, False])
    assert looks.total() == 0


@on_sqlite
def test_what_was_never_rung_is_found_by_the_next_look(start, monkeypatch):
    service = start(poll_seconds=0.1)
    monkeypatch.setattr(service.backend.bell, "ring", lambda _topic: None)

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["a"])
            await asyncio.to_thread(queue_jobs, service, [1])
            return await those_with_a_job(places, 1)

    assert list(asyncio.run(story())) == ["a"]


@on_sqlite
def test_what_comes_while_somebody_looks_in_vain_is_not_missed(service, monkeypatch):
    """The poll is minutes away: only the ring can tell, and it comes before the one who looks has sat down."""
    claim, late = jobs.claim, [True]

    def claim_before_it_comes(backend, request):
        found = claim(backend, request)
        if late.pop() if late else False:
            queue_jobs(service, [1])
        return found

    monkeypatch.setattr(jobs, "claim", claim_before_it_comes)

    async def story():
        async with waiting_room(service) as room:
            room.look_seconds = 600.0
            await asyncio.sleep(0)
            return await asyncio.wait_for(enter(service, room, "a"), SECONDS)

    assert asyncio.run(story()).job.task.kind == "inspect"


@on_sqlite
def test_a_look_that_goes_wrong_leaves_the_job_to_the_next(service, monkeypatch):
    claim = jobs.claim

    def fails_for_the_first(backend, request):
        if request.worker == "first" and room_is_full:
            raise RuntimeError("unforeseen")
        return claim(backend, request)

    room_is_full = []
    monkeypatch.setattr(jobs, "claim", fails_for_the_first)

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["first", "second"])
            room_is_full.append(True)
            await asyncio.to_thread(queue_jobs, service, [1])
            found = await asyncio.wait_for(places["second"], SECONDS)
            with pytest.raises(RuntimeError):
                await places["first"]
            return found.job.task.kind, room._looking

    assert asyncio.run(story()) == ("inspect", 0)


def test_those_who_wait_at_two_services_share_the_jobs(start, tmp_path):
    one, other = start(poll_seconds=0.2), start(poll_seconds=0.2, data_dir=tmp_path / "other")

    async def story():
        async with waiting_room(one) as here, waiting_room(other) as there:
            places = await enter_some(one, here, [f"a{at}" for at in range(8)])
            places |= await enter_some(other, there, [f"b{at}" for at in range(8)])
            await asyncio.to_thread(queue_jobs, one, range(12))
            claimed = await those_with_a_job(places, 12)
            await end(places)
            return claimed

    claimed = asyncio.run(story())
    assert len(claimed) == len(set(claimed.values())) == 12


def test_those_who_wait_are_noted_as_present(start):
    service = start(poll_seconds=0.05)

    def seen():
        with service.backend.reading() as session:
            return dict(session.execute(select(WorkerRow.id, WorkerRow.last_seen_at)).all())

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["a", "b"])
            before, deadline = seen(), time.monotonic() + SECONDS
            while not all(at > before[name] for name, at in seen().items()):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await end(places)

    asyncio.run(story())


@on_sqlite
def test_nobody_is_left_in_the_room(service):
    async def story():
        async with waiting_room(service) as room:
            places = [enter(service, room, name, wait=0.1) for name in ("a", "b")]
            answers = [await asyncio.wait_for(place, SECONDS) for place in places]
            return answers, room._resting, room._looking

    assert asyncio.run(story()) == ([None, None], set(), 0)


@on_sqlite
def test_all_go_when_the_service_stops(service):
    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["a", "b"])
            service.backend.bell.close()
            return [await asyncio.wait_for(place, SECONDS) for place in places.values()]

    assert asyncio.run(story()) == [None, None]


def test_a_ring_that_is_for_nobody_wakes_nobody_for_good(service, looks):
    """As when the connection that hears of other services is made again."""

    async def story():
        async with waiting_room(service) as room:
            places = await enter_some(service, room, ["a", "b"])
            looks.clear()
            service.backend.bell.ring_all()
            await asyncio.sleep(0.1)
            await end(places)

    asyncio.run(asyncio.wait_for(story(), SECONDS))
    assert looks.total() == 0
