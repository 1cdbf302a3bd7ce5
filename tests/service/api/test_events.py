from __future__ import annotations

import threading
import time
from datetime import datetime

import httpx
import pytest
from httpx_sse import connect_sse

from tests.service import synthetic
from tests.service.agent import Agent


def replay(service, study, headers=None, **params):
    with connect_sse(
        service.http, "GET", f"/v1/studies/{study}/events", headers=headers or {}, params=params
    ) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        return list(source.iter_sse())


@pytest.fixture
def study(service):
    study = service.submit(n_trials=2)["id"]
    service.agent().work()
    return study


def test_a_finished_study_is_told_from_the_beginning_to_the_end(service, study):
    told = [
        (event.event, event.json()["data"]["state"]) for event in replay(service, study) if event.event != "baseline"
    ]
    assert told == [
        ("study", "queued"),
        ("study", "running"),
        ("trial", "RUNNING"),
        ("trial", "COMPLETE"),
        ("study", "running"),
        ("trial", "RUNNING"),
        ("trial", "COMPLETE"),
        ("study", "completed"),
        ("artifact", "pending"),
        ("artifact", "ready"),
    ]


def test_events_are_numbered_without_gaps(service, study):
    assert [int(event.id) for event in replay(service, study)] == list(range(1, 12))


def test_an_event_is_what_its_own_endpoint_answers(service, study):
    trial = [event for event in replay(service, study) if event.event == "trial"][-1].json()
    assert trial["data"] == service.get(f"/v1/studies/{study}/trials/1")


def test_the_last_id_is_where_it_goes_on(service, study):
    assert [int(event.id) for event in replay(service, study, {"last-event-id": "9"})] == [10, 11]


def test_after_is_where_it_goes_on(service, study):
    assert [int(event.id) for event in replay(service, study, after=10)] == [11]


def test_the_header_goes_before_the_parameter(service, study):
    assert [int(event.id) for event in replay(service, study, {"last-event-id": "10"}, after=2)] == [11]


def test_after_the_last_one_the_stream_ends_at_once(service, study):
    assert replay(service, study, after=11) == []


def test_a_cancelled_study_ends_its_stream(service):
    study = service.submit()["id"]
    service.http.post(f"/v1/studies/{study}/cancel")
    assert replay(service, study)[-1].json()["data"]["state"] == "cancelled"


def test_an_id_that_is_none_is_refused(service, study):
    answer = service.http.get(f"/v1/studies/{study}/events", headers={"last-event-id": "x"})
    assert answer.status_code == 422


def prepared(process, salt, **changes):
    """A study in a service of its own process."""
    http, agent = process.http, Agent(process.http)
    model = http.post("/v1/models?name=m", content=synthetic.model_document(salt=salt)).json()["id"]
    data = http.post("/v1/datasets?name=d", content=synthetic.dataset_document(salt=salt)).json()["id"]
    agent.work()
    body = {
        "model": model,
        "calibration": {"dataset": data, "stop": 20},
        "validation": {"dataset": data, "start": 20},
        "constraints": {"macs": "50%"},
        "n_trials": 2,
        **changes,
    }
    return http.post("/v1/studies", json=body).json()["id"], agent


def test_events_come_while_they_happen(process):
    study, agent = prepared(process, salt=1)
    seen, delays = [], []
    working = threading.Thread(target=agent.work)
    with (
        httpx.Client(base_url=process.http.base_url, headers=process.http.headers, timeout=20) as http,
        connect_sse(http, "GET", f"/v1/studies/{study}/events") as source,
    ):
        for event in source.iter_sse():
            seen.append(event)
            if len(seen) == 1:
                working.start()
            delays.append(time.time() - created(event))
    working.join()
    assert seen[-1].json()["data"]["state"] == "ready"
    assert max(delays) < 15  # by itself the stream would have looked again after a minute


def created(event) -> float:
    return datetime.fromisoformat(event.json()["created_at"]).timestamp()


def test_a_quiet_stream_is_kept_alive(launched):
    process = launched("--keep-alive-seconds", "1")
    study, _ = prepared(process, salt=2)
    with process.http.stream("GET", f"/v1/studies/{study}/events") as answer:
        lines = answer.iter_lines()
        assert any(line == ": keep-alive" for line in lines)
