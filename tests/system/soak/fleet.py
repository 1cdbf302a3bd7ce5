"""Services, workers and a database as real processes that are killed at any moment and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.service import synthetic
from tests.service.agent import Agent
from tests.service.bucket import s3_server

TOKEN = "a-token-for-the-soak"  # noqa: S105 - of services that live as long as the test
ROOT = Path(__file__).parents[3]
PATIENT = {
    "lease-seconds": "2",
    "sweep-seconds": "0.5",
    "max-attempts": "1000",  # it is the environment that fails here, never a trial
    "max-crashes": "1000",
    "retry-base-seconds": "0.01",
    "log-level": "warning",
}


@dataclass
class Child:
    """A process that can be killed and started again with the same command line."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Fleet:
    """Two replicas of the service on one database, and workers on either.

    Args:
        folder: for data and logs.
        database_url: of both replicas.
        blobs_url: of both.
        workers: how many.
        postgres: the server, where it may be killed, too.
    """

    def __init__(
        self, folder: Path, database_url: str, blobs_url: str, workers: int, postgres: PostgresServer | None
    ) -> None:
        self.postgres = postgres
        self.ports = [free_port(), free_port()]
        self.services = [self._service(folder, number, database_url, blobs_url) for number in range(2)]
        self.workers = [
            Child(
                f"worker{number}",
                [sys.executable, "-m", "tests.system.soak.worker", self.url(number % 2), TOKEN, f"w{number}"],
                folder / f"worker{number}.log",
            )
            for number in range(workers)
        ]
        self.kills: dict[str, int] = {"service": 0, "worker": 0, "postgres": 0}

    def url(self, replica: int) -> str:
        return f"http://127.0.0.1:{self.ports[replica]}"

    def http(self, replica: int = 0) -> httpx.Client:
        return httpx.Client(base_url=self.url(replica), headers={"authorization": f"Bearer {TOKEN}"}, timeout=15)

    def start(self) -> None:
        for child in (*self.services, *self.workers):
            child.start()

    def stop(self) -> None:
        for child in (*self.workers, *self.services):
            child.kill()

    def kill_one(self, rng: random.Random) -> str:
        """Kill something, wait a moment, start it again."""
        kinds = ["service", "worker", "worker", *(["postgres"] if self.postgres is not None else [])]
        kind = rng.choice(kinds)
        if kind == "postgres":
            assert self.postgres is not None
            self.postgres.kill()
            time.sleep(rng.uniform(0, 0.2))
            self.postgres.start()
        else:
            child = rng.choice(self.services if kind == "service" else self.workers)
            child.kill()
            time.sleep(rng.uniform(0, 0.2))
            child.start()
        self.kills[kind] += 1
        return kind

    def _service(self, folder: Path, number: int, database_url: str, blobs_url: str) -> Child:
        data_dir = folder / f"replica{number}"
        data_dir.mkdir(parents=True)
        (data_dir / "token").write_text(TOKEN + "\n")
        options = PATIENT | {"database-url": database_url, "blobs-url": blobs_url, "port": str(self.ports[number])}
        written = [part for name, value in options.items() for part in (f"--{name}", value)]
        command = [sys.executable, "-m", "service", "--data-dir", str(data_dir), *written]
        return Child(f"service{number}", command, folder / f"service{number}.log")


@contextmanager
def fleet(folder: Path, postgres: PostgresServer, workers: int) -> Iterator[Fleet]:
    """Running; nothing of it outlives the block."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        database = stack.enter_context(postgres.database())
        made = Fleet(folder, postgres.url(database), server.bucket(), workers, postgres)
        stack.callback(made.stop)
        made.start()
        yield made


def insist(ask: Callable[[], Any], seconds: float = 120) -> Any:
    """The answer, however often the service is away meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = ask()
        except (httpx.TransportError, AssertionError, json.JSONDecodeError):
            assert time.monotonic() < deadline, "no answer in time"
            time.sleep(0.1)
        else:
            return found


def ok(answer: httpx.Response) -> Any:
    if 400 <= answer.status_code < 500:  # asking again would not help
        raise RuntimeError(answer.text)
    assert answer.status_code < 300, answer.text
    return answer.json()


def prepared(made: Fleet) -> dict[str, Any]:
    """An inspected model and a data set, as members of a study request."""
    with made.http() as http:
        upload = {"params": {"name": "net"}}
        model = insist(lambda: ok(http.post("/v1/models", content=synthetic.model_document(), **upload)))
        data = insist(lambda: ok(http.post("/v1/datasets", content=synthetic.dataset_document(), **upload)))
        insist(lambda: _is_ready(http, model["id"]))
    slices = {"calibration": {"start": 0, "stop": 20}, "validation": {"start": 20, "stop": 40}}
    return {"model": model["id"], **{name: {"dataset": data["id"], **part} for name, part in slices.items()}}


def _is_ready(http: httpx.Client, model: str) -> None:
    assert ok(http.get(f"/v1/models/{model}"))["state"] == "ready"


__all__ = ["TOKEN", "Agent", "Fleet", "fleet", "insist", "ok", "prepared"]
