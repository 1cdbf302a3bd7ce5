from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from service.access.principal import LOCAL
from service.access.verification import Verifier
from service.api import events, relay
from service.api.relay import Part, Recent, Relay, _Channel
from service.scheduling.backend import locked_study
from service.scheduling.events import newest_event, study_event
from tests.service.access_stories import token_for
from tests.service.conftest import on_both

SECONDS = 20
"""Far above what anything here takes."""


@contextmanager
def statements_on_events(service):
    """The queries of events that the database is asked."""
    seen, engine = [], service.backend.database.engine

    def note(_connection, _cursor, statement, *_rest):
        if "FROM rs_events" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@asynccontextmanager
async def relaying(service, **options):
    """A relay in a loop of the test's own, beside that of the service."""
    made = Relay(service.backend, Verifier(service.backend.database), **options)
    examining = asyncio.create_task(made.examine_now_and_then())
    yield made
    examining.cancel()
    await asyncio.gather(examining, return_exceptions=True)


def stream(service, relay_, study, after=0, caller=LOCAL):
    newest = newest_event(service.backend, caller, study)
    return events._lines(service.backend, relay_, caller, study, after, newest)


def happen(service, study, count):
    """So many events."""
    for _ in range(count):
        with service.backend.writing() as session:
            study_event(session, locked_study(session, study))


def numbers(part):
    return [int(line[4:]) for line in part.decode().splitlines() if line.startswith("id: ")]


async def seen(lines, up_to=None):
    """The numbers that a stream tells, up to one of them, or to its end."""
    found = []
    async with asyncio.timeout(SECONDS):
        async for part in lines:
            found += numbers(part)
            if up_to is not None and found and found[-1] >= up_to:
                break
    return found


def line(number, size=100):
    return number, b"id: %d\n" % number + b"x" * size + b"\n\n"


def test_memory_holds_the_newest_lines_and_knows_where_they_begin():
    recent = Recent(last=4, most=350)
    recent.add([line(number) for number in range(5, 11)])
    assert (recent.floor, recent.last) == (7, 10)
    assert recent.after(6) is None
    assert numbers(recent.after(7).text) == [8, 9, 10]
    assert numbers(recent.after(9).text) == [10]
    assert recent.after(10) == Part(10, b"")


def test_memory_holds_one_event_however_large_it_is():
    recent = Recent(last=0, most=350)
    recent.add([line(1), line(2, size=1000)])
    assert (recent.floor, numbers(recent.after(1).text)) == (1, [2])


def test_who_was_told_more_than_there_is_waits():
    recent = Recent(last=4, most=350)
    assert recent.after(1000) == Part(1000, b"")


def test_a_stream_is_given_a_bounded_part_at_once():
    recent = Recent(last=0, most=10**7)
    recent.add([line(number, size=30_000) for number in range(1, 8)])
    part = recent.after(0)
    assert (part.last, numbers(part.text)) == (2, [1, 2])
    assert recent.after(2).last == 4


@on_both
def test_what_happens_is_read_once_for_all_who_watch(service):
    study = service.submit()["id"]

    async def watched():
        async with relaying(service) as made:
            streams = [stream(service, made, study) for _ in range(30)]
            before = await asyncio.gather(*(seen(one, up_to=1) for one in streams))
            with statements_on_events(service) as asked:
                await asyncio.to_thread(happen, service, study, 3)
                after = await asyncio.gather(*(seen(one, up_to=4) for one in streams))
            for one in streams:
                await one.aclose()
            return before, after, len(asked)

    before, after, asked = asyncio.run(watched())
    assert before == [[1]] * 30
    assert after == [[2, 3, 4]] * 30
    assert asked <= 4  # one each time that it was rung, and perhaps one more


@on_both
@pytest.mark.parametrize("kept_bytes", [1, 5_000])
def test_streams_that_begin_anywhere_and_at_any_time_have_every_event_once(service, kept_bytes):
    study = service.submit()["id"]
    happen(service, study, 40)

    async def watched():
        async with relaying(service, kept_bytes=kept_bytes) as made:
            telling = asyncio.create_task(asyncio.to_thread(happen, service, study, 40))
            watching = []
            for after in [0, 40, 20, 41, 39, 5, 0]:
                watching.append((after, asyncio.create_task(seen(stream(service, made, study, after), up_to=81))))
                await asyncio.sleep(0.01)
            await telling
            return [(after, await one) for after, one in watching]

    for after, found in asyncio.run(watched()):
        assert found == list(range(after + 1, 82))


def test_a_stream_that_is_not_read_holds_nobody_up_and_misses_nothing(service):
    study = service.submit()["id"]

    async def watched():
        async with relaying(service, kept_bytes=3_000) as made:
            slow, quick = stream(service, made, study), stream(service, made, study)
            assert await seen(slow, up_to=1) == [1]
            for count in range(1, 6):
                await asyncio.to_thread(happen, service, study, 10)
                found = await seen(quick, up_to=1 + 10 * count)
            (channel,) = made._channels.values()
            held = sum(len(text) for _, text in channel.recent._lines)
            return found[-1], held, await seen(slow, up_to=51)

    newest, held, late = asyncio.run(watched())
    assert newest == 51
    assert held <= 3_000
    assert late == list(range(2, 52))


def test_nothing_is_left_when_nobody_watches(service):
    study = service.submit()["id"]

    async def watched():
        async with relaying(service) as made:
            streams = [stream(service, made, study) for _ in range(3)]
            await asyncio.gather(*(seen(one, up_to=1) for one in streams))
            listening = len(service.backend.bell._ears[f"study:{study}"])
            for one in streams:
                await one.aclose()
            await made.close()
            return listening, made._channels, made._watches, made._readers

    assert asyncio.run(watched()) == (1, {}, set(), set())
    assert f"study:{study}" not in service.backend.bell._ears


def test_all_streams_of_a_study_end_with_it(service):
    study = service.submit(n_trials=1)["id"]

    async def watched():
        async with relaying(service) as made:
            streams = [asyncio.create_task(seen(stream(service, made, study))) for _ in range(3)]
            await asyncio.to_thread(service.agent().work)
            found = await asyncio.gather(*streams)
            return found, made._channels

    found, channels = asyncio.run(watched())
    assert found == [list(range(1, found[0][-1] + 1))] * 3
    assert channels == {}


def test_who_knows_of_more_than_the_reader_saw_keeps_it_reading(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    last = newest_event(service.backend, LOCAL, study)
    channel = _Channel(study, Recent(last, most=1000))
    channel.known = last + 1  # of somebody who came when the study went on again, while the reader saw it ended

    async def looked():
        async with relaying(service) as made:
            return [(made._look(channel), channel.over), happen(service, study, 1), (made._look(channel), channel.over)]

    assert asyncio.run(looked()) == [(0, False), None, (1, True)]


def test_a_deleted_study_ends_its_streams(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)  # the baseline and the trial: its artifact waits to be made, so the streams go on

    async def watched():
        async with relaying(service) as made:
            one = stream(service, made, study)
            first = await seen(one, up_to=1)
            ending = asyncio.create_task(seen(one))
            answer = await asyncio.to_thread(service.http.delete, f"/v1/studies/{study}")
            await ending
            return first[0], answer.status_code

    assert asyncio.run(watched()) == (1, 204)


def test_a_revoked_token_ends_its_own_streams_and_no_others(service):
    study = service.submit()["id"]
    verifier = Verifier(service.backend.database)
    ada, bob = (verifier.token(token_for(service, name, "default", token=f"tok_{name}")).caller for name in ("a", "b"))

    async def watched():
        async with relaying(service) as made:
            hers, his = (stream(service, made, study, caller=caller) for caller in (ada, bob))
            await asyncio.gather(seen(hers, up_to=1), seen(his, up_to=1))
            ending = asyncio.create_task(seen(hers))
            await asyncio.to_thread(service.http.delete, "/v1/tokens/tok_a")
            assert await ending == []
            await asyncio.to_thread(happen, service, study, 1)
            return await seen(his, up_to=2)

    assert asyncio.run(watched()) == [2]


def test_streams_wait_for_a_database_that_is_away(start, monkeypatch):
    service = start(poll_seconds=0.05)
    study, look = service.submit()["id"], relay.events_after
    away = [OperationalError("", {}, Exception("gone"))] * 3

    def sometimes(*arguments):
        if away:
            raise away.pop()
        return look(*arguments)

    monkeypatch.setattr(relay, "events_after", sometimes)
    monkeypatch.setattr(events, "events_after", sometimes)

    async def watched():
        async with relaying(service) as made:
            return await seen(stream(service, made, study), up_to=1)

    assert asyncio.run(watched()) == [1]
    assert away == []


def test_streams_are_cut_where_nobody_foresaw_what_went_wrong(service, monkeypatch):
    study = service.submit()["id"]

    def fail(*_arguments):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(relay, "events_after", fail)

    async def watched():
        async with relaying(service) as made:
            with pytest.raises(RuntimeError, match="unforeseen"):
                await seen(stream(service, made, study))
            return made._channels

    assert asyncio.run(watched()) == {}


def test_streams_end_when_the_service_does(service):
    study = service.submit()["id"]

    async def watched():
        async with relaying(service) as made:
            one = stream(service, made, study)
            assert await seen(one, up_to=1) == [1]
            service.backend.bell.close()
            rest = await seen(one)
            await made.close()
            return rest, made._readers

    assert asyncio.run(watched()) == ([], set())


def test_a_line_is_the_event_as_its_own_endpoint_answers_it(service):
    study = service.submit()["id"]

    async def watched():
        async with relaying(service) as made:
            async for part in stream(service, made, study):
                if numbers(part):
                    return part.decode()
        return ""

    first = asyncio.run(watched()).split("\n\n")[0].splitlines()
    assert first[:2] == ["id: 1", "event: study"]
    assert json.loads(first[2].removeprefix("data: "))["data"]["id"] == study
