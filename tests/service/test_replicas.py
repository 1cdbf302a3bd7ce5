"""Two services on one PostgreSQL database, each a process of its own.

They look for news once in a minute only, so that what is seen within seconds was heard of from the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest
from httpx_sse import connect_sse

from tests.postgres import PostgresServer, own_server
from tests.service import synthetic
from tests.service.agent import Agent
from tests.service.api.conftest import Process, end, launch
from tests.service.api.test_events import created, prepared

TOKEN = "the-token-of-both-replicas"  # noqa: S105 - of services that live as long as a test
HEARD_SECONDS = 30
"""Far below the minute after which they would look by themselves, and far above what a ring takes."""

Pair = tuple[Process, Process]


@contextmanager
def pair_on(server: PostgresServer, database: str, folder: Path) -> Iterator[Pair]:
    """Both are started at the same moment. They share the directory of blobs, as they would share a bucket."""
    (folder / "blobs").mkdir()
    for name in "ab":
        (folder / name / "blobs").mkdir(parents=True)
        (folder / name / "blobs" / "sha256").symlink_to(folder / "blobs")
    slow = ("--poll-seconds", "60", "--keep-alive-seconds", "60")
    options = ("--database-url", server.address(database), *slow, "--log-level", "error")
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        starting = [threads.submit(launch, folder / name, *options, token=TOKEN) for name in "ab"]
        for one in starting:
            stack.callback(lambda one=one: end(one.result()))
        yield starting[0].result(), starting[1].result()


@pytest.fixture(scope="module")
def replicas(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Started on a database without tables: one of them makes these, the other waits."""
    with postgres.database() as name, pair_on(postgres, name, tmp_path_factory.mktemp("replicas")) as pair:
        yield pair


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What they return, started at the same moment."""
    barrier = threading.Barrier(len(calls))

    def called(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        futures: list[Future[Any]] = [threads.submit(called, call) for call in calls]
        return [future.result() for future in futures]


def database_of(replica: Process, postgres: PostgresServer) -> str:
    """Its URL for Optuna."""
    command = replica.process.args
    assert isinstance(command, list)
    return postgres.url(str(command[command.index("--database-url") + 1]).rsplit("/", 1)[1])


def test_four_workers_at_both_make_exactly_the_trials_of_a_study(replicas, postgres):
    first, second = replicas
    study, _ = prepared(first, salt=11, n_trials=24, finalists=0)

    def work(name: str, replica: Process) -> int:
        agent, made = Agent(replica.http, name), 0
        while replica.http.get(f"/v1/studies/{study}").json()["state"] in {"queued", "running"}:
            job = agent.claim(wait=1)
            if job is not None:
                agent.complete(job)
                made += job["study"] == study and job["task"]["kind"] == "trial"
        return made

    made = at_once(*(lambda at=at: work(f"w{at}", replicas[at % 2]) for at in range(4)))
    for replica in replicas:
        assert replica.http.get(f"/v1/studies/{study}").json()["progress"]["complete"] == 24
    trials = second.http.get(f"/v1/studies/{study}/trials?limit=100").json()["items"]
    assert sum(made) == 24
    assert sorted(trial["number"] for trial in trials) == list(range(24))
    assert {trial["state"] for trial in trials} == {"COMPLETE"}
    assert len({str(trial["ranks"]) for trial in trials}) == 24
    numbers = [event["id"] for event in events(first, study)]
    assert numbers == list(range(1, len(numbers) + 1))

    states: list[str] = []

    def mirrored() -> bool:
        seen = optuna.load_study(study_name=study, storage=database_of(first, postgres)).trials
        states[:] = [trial.state.name for trial in seen]
        return states == ["COMPLETE"] * 24

    Process.wait_for(mirrored)
    Agent(first.http).work()  # the artifact


def events(replica: Process, study: str) -> list[dict[str, Any]]:
    """Until the study has ended."""
    found: list[dict[str, Any]] = []
    with connect_sse(replica.http, "GET", f"/v1/studies/{study}/events") as source:
        for event in source.iter_sse():
            found.append(event.json())
            if event.event == "study" and event.json()["data"]["state"] == "completed":
                break
    return found


def test_a_stream_at_one_sees_at_once_what_happens_at_the_other(replicas):
    first, second = replicas
    study, _ = prepared(first, salt=12)
    delays: list[float] = []
    connected = threading.Event()

    def watch() -> None:
        with (
            httpx.Client(base_url=first.http.base_url, headers=first.http.headers, timeout=60) as http,
            connect_sse(http, "GET", f"/v1/studies/{study}/events") as source,
        ):
            for event in source.iter_sse():
                delays.append(time.time() - created(event))
                connected.set()

    watching = threading.Thread(target=watch)
    watching.start()
    assert connected.wait(HEARD_SECONDS)
    delays.clear()  # what had happened before
    Agent(second.http, "elsewhere").work()
    watching.join(HEARD_SECONDS)
    assert not watching.is_alive()  # it ended with the study, and not after a minute
    assert len(delays) >= 4  # the baseline, two trials, the artifact
    assert max(delays) < HEARD_SECONDS


def test_a_claim_that_waits_at_one_is_woken_by_a_submission_at_the_other(replicas):
    first, second = replicas
    _, agent = prepared(second, salt=13)
    agent.work()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(Agent(first.http, "patient").claim, 18)
        Process.wait_for(lambda: "patient" in [w["id"] for w in second.http.get("/v1/workers").json()["items"]])
        again = second.http.get("/v1/studies").json()["items"][0]["request"]
        study = second.http.post("/v1/studies", json=again).json()["id"]
        began = time.monotonic()
        job = waiting.result()
    assert time.monotonic() - began < HEARD_SECONDS
    assert job["study"] == study
    Agent(first.http, "patient").complete(job)
    agent.work()


def test_one_idempotency_key_at_both_at_once_is_one_study(replicas):
    first, second = replicas
    study, agent = prepared(first, salt=14)
    agent.work()
    body = first.http.get(f"/v1/studies/{study}").json()["request"]
    for attempt in range(5):
        key = {"idempotency-key": f"once-{attempt}"}
        posts = [lambda r=r, key=key: r.http.post("/v1/studies", json=body, headers=key) for r in replicas]
        answers = at_once(*posts)
        assert sorted(answer.status_code for answer in answers) == [200, 202], [a.text for a in answers]
        assert len({answer.json()["id"] for answer in answers}) == 1
        second.http.post(f"/v1/studies/{answers[0].json()['id']}/cancel")


@pytest.mark.parametrize(
    ("path", "document"), [("models", synthetic.model_document), ("datasets", synthetic.dataset_document)]
)
def test_one_document_at_both_at_once_is_one_resource(replicas, path, document):
    for attempt in range(5):
        posts = [
            lambda r=r, salt=100 + attempt: r.http.post(f"/v1/{path}?name=n", content=document(salt=salt))
            for r in replicas
        ]
        answers = at_once(*posts)
        assert sorted(answer.status_code for answer in answers) == [200, 201], [a.text for a in answers]
        assert len({answer.json()["id"] for answer in answers}) == 1
    Agent(replicas[0].http).work()


def test_one_worker_at_both_at_once_is_one_worker(replicas):
    for attempt in range(5):
        claims = [lambda r=r, name=f"twin-{attempt}": Agent(r.http, name).claim() for r in replicas]
        assert at_once(*claims) == [None, None]


def test_a_token_of_neither_opens_nothing_at_either(replicas):
    for replica in replicas:
        assert httpx.get(f"{replica.http.base_url}/v1/studies").status_code == 401


def test_a_restart_of_the_database_is_a_pause(tmp_path):
    with own_server() as server, pair_on(server, server.create(), tmp_path) as (first, second):
        study, agent = prepared(first, salt=15)
        seen: list[str] = []
        opened = threading.Event()

        def watch() -> None:
            with (
                httpx.Client(base_url=first.http.base_url, headers=first.http.headers, timeout=60) as http,
                connect_sse(http, "GET", f"/v1/studies/{study}/events") as source,
            ):
                opened.set()
                seen.extend(event.event for event in source.iter_sse())

        watching = threading.Thread(target=watch)
        watching.start()
        held = agent.must_claim("baseline")
        assert opened.wait(60)
        server.kill()
        for replica in (first, second):
            answer = replica.http.get(f"/v1/studies/{study}")
            assert (answer.status_code, answer.json()["code"]) == (503, "service_busy")
            assert answer.json()["mend"]
            assert answer.headers["retry-after"] == "1"
            assert replica.http.get("/readyz").status_code == 503
            assert replica.http.get("/healthz").status_code == 200
        server.start()
        Process.wait_for(lambda: all(r.http.get(f"/v1/studies/{study}").status_code == 200 for r in (first, second)))
        agent.complete(held)
        Agent(second.http, "elsewhere").work()
        watching.join(HEARD_SECONDS)
        assert not watching.is_alive()
        assert seen[-1] == "artifact"
        assert second.http.get(f"/v1/studies/{study}").json()["progress"]["complete"] == 2
