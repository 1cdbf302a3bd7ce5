import json

import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from tests.ranksearch import wire

SSE = {"content-type": "text/event-stream; charset=utf-8"}


class Told(httpx.SyncByteStream):
    def __init__(self, text, then=None):
        self.text = text
        self.then = then

    def __iter__(self):
        yield self.text.encode()
        if self.then is not None:
            raise self.then


def told(*events, then=None, tail=""):
    lines = [f"id: {e['id']}\nevent: {e['kind']}\ndata: {json.dumps(e)}\n\n" for e in events]
    return httpx.Response(200, stream=Told(": connected\n\n" + "".join(lines) + tail, then), headers=SSE)


RUNNING = wire.event(1, state="running")
TRIAL = wire.event(2, "trial", number=0)
ENDED = wire.event(3, state="completed")
ARTIFACT = wire.event(4, "artifact")
CUT = httpx.ReadError("cut")


def numbers(client, **options):
    return [event.id for event in client.studies.events(wire.STUDY, **options)]


def test_events_come_in_order_until_the_study_has_ended(answers):
    client, _ = answers(told(RUNNING, TRIAL, ENDED), told())
    assert numbers(client) == [1, 2, 3]


def test_what_follows_the_end_is_told_too(answers):
    client, _ = answers(told(RUNNING, ENDED), told(ARTIFACT), told())
    assert numbers(client) == [1, 3, 4]


def test_after_a_drop_it_goes_on_where_it_was(answers):
    client, requests = answers(told(RUNNING, then=CUT), told(TRIAL, ENDED), told())
    assert (numbers(client), requests[1].headers["last-event-id"]) == ([1, 2, 3], "1")


def test_an_event_cut_in_the_middle_is_told_once(answers):
    client, _ = answers(told(RUNNING, tail='id: 2\ndata: {"id": 2', then=CUT), told(TRIAL, ENDED), told())
    assert numbers(client) == [1, 2, 3]


def test_an_event_that_comes_twice_is_told_once(answers):
    client, _ = answers(told(RUNNING, then=CUT), told(RUNNING, TRIAL, ENDED), told())
    assert numbers(client) == [1, 2, 3]


def test_a_restart_of_the_service_is_waited_for(answers):
    client, _ = answers(told(RUNNING), httpx.ConnectError("refused"), httpx.Response(503), told(ENDED), told())
    assert numbers(client) == [1, 3]


def test_after_says_where_to_begin(answers):
    client, requests = answers(told(ENDED), told())
    assert (numbers(client, after=2), requests[0].headers["last-event-id"]) == ([3], "2")


def test_a_study_that_ended_long_ago_ends_at_once(answers):
    client, _ = answers(told(), httpx.Response(200, json=wire.study(state="completed")))
    assert numbers(client, after=3) == []


def test_a_stream_that_ends_early_again_and_again_is_an_error(serve):
    def handler(request):
        return told() if request.url.path.endswith("events") else httpx.Response(200, json=wire.study())

    with pytest.raises(UnavailableError, match="ends early"):
        numbers(serve(handler))


def test_no_such_study(answers):
    client, _ = answers(
        httpx.Response(
            404, json=wire.problem("study_not_found", 404), headers={"content-type": "application/problem+json"}
        )
    )
    with pytest.raises(NotFoundError):
        numbers(client)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>", headers={"content-type": "text/html"}),
        httpx.Response(200, text="data: nonsense\n\n", headers=SSE),
        httpx.Response(200, text='data: {"id": "x"}\n\n', headers=SSE),
    ],
)
def test_what_is_no_stream_of_events_is_refused(answers, answer):
    client, _ = answers(answer)
    with pytest.raises(UnavailableError) as caught:
        numbers(client)
    assert caught.value.code == "service_answer_invalid"
