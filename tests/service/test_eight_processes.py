"""Eight client processes and a service on SQLite: claims, renewals, results, submissions, lists and streams at once."""

from __future__ import annotations

import httpx
from httpx_sse import connect_sse

from tests.service.agent import Agent
from tests.service.api.conftest import launched  # noqa: F401 - a fixture
from tests.service.api.test_events import prepared
from tests.service.processes import in_processes

STUDIES = 3
"""That each of the two who submit has done."""
TRIALS = 8
BUSY = "database is locked"

Address = tuple[str, str]


def connected(address: Address) -> httpx.Client:
    url, token = address
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)


def listed(http: httpx.Client, path: str) -> list[dict]:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def all_done(http: httpx.Client) -> bool:
    studies = listed(http, "/v1/studies")
    return len(studies) == 2 * STUDIES and all(
        study["state"] == "completed" and listed(http, f"/v1/studies/{study['id']}/artifacts")[0]["state"] == "ready"
        for study in studies
    )


def working(address: Address, name: str) -> list[tuple[str, int]]:
    """The trials that it completed, as studies and numbers."""
    with connected(address) as http:
        agent = Agent(http, name)
        while True:
            job = agent.claim(wait=0.5)
            if job is not None:
                assert agent.post(job, "renew").status_code == 200
                agent.complete(job)
            elif all_done(http):
                return [(job["study"], job["trial"]) for job in agent.done if job["task"]["kind"] == "trial"]


def submitting(address: Address, name: str, body: dict) -> list[str]:
    """The studies that it submitted, once their trials are listed in full."""
    with connected(address) as http:
        ids = []
        for seed in range(STUDIES):
            answer = http.post("/v1/studies", json=body | {"name": f"{name} {seed}", "seed": seed})
            assert answer.status_code == 202, answer.text
            ids.append(answer.json()["id"])
        for study in ids:
            while [one["state"] for one in listed(http, f"/v1/studies/{study}/trials")] != ["COMPLETE"] * TRIALS:
                listed(http, "/v1/workers")
        return ids


def streaming(address: Address) -> dict[str, list[int]]:
    """The numbers of the events of every study, each followed from its first event to its last."""
    seen: dict[str, list[int]] = {}
    with connected(address) as http:
        while len(seen) < 2 * STUDIES:
            for study in listed(http, "/v1/studies"):
                if study["id"] not in seen:
                    with connect_sse(http, "GET", f"/v1/studies/{study['id']}/events") as source:
                        seen[study["id"]] = [int(event.id) for event in source.iter_sse()]
    return seen


def test_eight_processes_at_a_service_on_sqlite_are_all_served(launched):  # noqa: F811 - the fixture
    service = launched()
    first, _ = prepared(service, salt=0, n_trials=TRIALS)
    body = service.http.get(f"/v1/studies/{first}").json()["request"]
    assert service.http.post(f"/v1/studies/{first}/cancel").status_code < 300
    assert service.http.delete(f"/v1/studies/{first}").status_code == 204
    address = (str(service.http.base_url), service.token)
    workers = [(working, (address, f"worker-{number}")) for number in range(4)]
    clients = [(submitting, (address, name, body)) for name in ("ada", "ben")]
    streams = [(streaming, (address,))] * 2
    results = in_processes([*workers, *clients, *streams])

    made, submitted, seen = results[:4], sorted(results[4] + results[5]), results[6:]
    expected = [(study, number) for study in submitted for number in range(TRIALS)]
    assert sorted(trial for trials in made for trial in trials) == expected
    for events in seen:
        assert sorted(events) == submitted
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in events.values())
    for study in submitted:
        progress = service.http.get(f"/v1/studies/{study}").json()["progress"]
        assert (progress["complete"], progress["failed"], progress["running"]) == (TRIALS, 0, 0)
    assert service.stop() == 0
    assert BUSY not in service.log
