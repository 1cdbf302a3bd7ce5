"""A service under load: workers that evaluate nothing, watchers that only read, and the processes that serve them.

The workers speak plain HTTP over one kept connection each, with as little Python as possible, since they share the
machine's cores with the service that is measured.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import torch

import ranksearch
from ranksearch.contracts.profiles import Cost, GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.local import LocalDeployment
from tests.service import synthetic

__all__ = ["SITES", "Claimed", "Fleet", "SyntheticWorker", "Watcher", "fleet", "profile", "quantile"]

SITES = 20
_LONG = 3600.0


def profile(layers: int = SITES) -> ModelProfile:
    """Layers of a ResNet's sizes, sixteen ranks each."""
    sites = [
        SiteProfile(
            name=f"layer{index}",
            kind="conv2d",
            weight_shape=[64, 64, 3, 3],
            macs=37_748_736,
            params=36_864,
            grids={
                "cp3": [
                    GridPoint(
                        ranks=LayerRanks(method="cp3", rank=10 * step),
                        macs=step * 2_000_000,
                        params=step * 2_000,
                        relative_error=1 / (1 + step),
                    )
                    for step in range(1, 17)
                ]
            },
        )
        for index in range(layers)
    ]
    dense = Cost(macs=layers * 37_748_736, params=layers * 36_864)
    return ModelProfile(
        dense=dense, sites=sites, input_shapes=[[3, 8, 8]], output_shapes=[[10]], solver="none", seconds=0
    )


@dataclass
class Claimed:
    """One job as a worker saw it, in seconds."""

    kind: str
    study: str | None
    at: float
    claim: float
    sampling: float
    completion: float = 0.0
    worked: float = 0.0

    @property
    def added(self) -> float:
        """What the service added to the trial, outside sampling and evaluation."""
        return self.claim - self.sampling + self.completion


class Http:
    """One kept connection."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, JSON and headers of the answer."""
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None, answer.headers

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@dataclass
class SyntheticWorker:
    """Claims and completes in a thread of its own until it is told to stop, or nothing is left.

    Args:
        fleet: whose service.
        name: of the worker.
        seconds: that it pretends to evaluate a trial.
        wait: how long a claim waits for work; where it is 0, an empty claim ends the worker.
    """

    fleet: Fleet
    name: str
    seconds: float = 0.0
    wait: float = 0.0
    jobs: list[Claimed] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._claim = {
            "worker": f"wrk_{self.name}",
            "name": self.name,
            "device": "none",
            "version": self.fleet.version,
            "wait_seconds": self.wait,
        }

    def start(self) -> SyntheticWorker:
        """Begin."""
        self._thread.start()
        return self

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def _work(self) -> None:
        send = self.fleet.connection()
        try:
            while not self.stopping.is_set():
                start = time.perf_counter()
                status, job, headers = send("POST", "/v1/jobs/claim", self._claim)
                took = time.perf_counter() - start
                if status == http.client.OK:
                    self.jobs.append(self._do(send, job, Claimed(*_named(job), start, took, _sampling(headers))))
                elif status != http.client.NO_CONTENT:
                    self.problems.append(f"claim: {status} {job}")
                elif self.wait == 0:
                    return
        finally:
            send.close()

    def _do(self, send: Http, job: dict[str, Any], seen: Claimed) -> Claimed:
        if seen.kind in {"trial", "final"} and self.seconds:
            self.stopping.wait(self.seconds)
        seen.worked = time.perf_counter() - seen.at - seen.claim
        body = {"lease_token": job["lease"]["token"], "outcome": self.fleet.outcome(job)}
        start = time.perf_counter()
        status, answer, _ = send("POST", f"/v1/jobs/{job['id']}/complete", body)
        seen.completion = time.perf_counter() - start
        if status != http.client.NO_CONTENT:
            self.problems.append(f"complete: {status} {answer}")
        return seen


class Watcher:
    """An open event stream that counts what it is told."""

    def __init__(self, fleet: Fleet, study: str) -> None:
        parts = urlsplit(fleet.url)
        self.events = 0
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120)
        self._socket.sendall(
            f"GET /v1/studies/{study}/events HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"authorization: Bearer {fleet.token}\r\naccept: text/event-stream\r\n\r\n".encode()
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := self._socket.recv(1 << 16):
                self.events += data.count(b"\nevent: ") + data.startswith(b"event: ")
        except OSError:
            return

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class Fleet:
    """A running service with an inspected model and a data set.

    Args:
        local: the deployment.
        folder: for documents.
        layers: of the model.
    """

    def __init__(self, local: LocalDeployment, folder: Path, layers: int = SITES) -> None:
        self._layers = layers
        self.url, self.token = local.url, local.token
        self.version = ranksearch.__version__
        self._pid = local.service.pid if local.service is not None else os.getpid()
        self.model, self.dataset, self._artifact = self._prepared(folder)

    def connection(self, token: str | None = None) -> Http:
        """A new one."""
        return Http(self.url, token or self.token)

    def memory(self) -> float:
        """Of the service, MiB."""
        return psutil.Process(self._pid).memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """That the service has used."""
        times = psutil.Process(self._pid).cpu_times()
        return times.user + times.system

    def submit(self, n_trials: int, token: str | None = None, **changes: object) -> str:
        """A study; its id."""
        send = self.connection(token)
        body = {
            "model": self.model,
            "calibration": {"dataset": self.dataset, "start": 0, "stop": 32},
            "validation": {"dataset": self.dataset, "start": 32, "stop": 64},
            "constraints": {"macs": "33%"},
            "n_trials": n_trials,
            "finalists": 0,
            "pruner": "none",
            **changes,
        }
        status, study, _ = send("POST", "/v1/studies", body)
        send.close()
        if status != http.client.ACCEPTED:
            raise RuntimeError(f"the study was refused: {study}")
        return str(study["id"])

    def user(self, name: str) -> str:
        """A new user of the same project; a token of theirs."""
        with ranksearch.Client(self.url, self.token) as client:
            client.users.create(name)
            return client.tokens.create(f"{name}'s", user=name, scopes=["read", "submit"]).secret

    def study(self, study: str) -> dict[str, Any]:
        """As the API answers it."""
        send = self.connection()
        _, found, _ = send("GET", f"/v1/studies/{study}")
        send.close()
        return dict(found)

    def work(self, count: int, seconds: float = 0.0) -> list[SyntheticWorker]:
        """So many workers, until nothing is left to do."""
        workers = [SyntheticWorker(self, f"w{number}", seconds).start() for number in range(count)]
        for worker in workers:
            worker.join()
        problems = [problem for worker in workers for problem in worker.problems]
        if problems:
            raise RuntimeError(f"{len(problems)} requests failed, the first: {problems[0]}")
        return workers

    def outcome(self, job: dict[str, Any]) -> dict[str, Any]:
        """Made up: a value that depends on the job."""
        kind = job["task"]["kind"]
        if kind == "inspect":
            return {"kind": kind, "profile": json.loads(profile(self._layers).model_dump_json(by_alias=True))}
        if kind == "compress":
            return {"kind": kind, "sha256": self._artifact, "parity": synthetic.parity()}
        if kind == "sensitivity":
            choices = job["task"]["choices"].items()
            return {"kind": kind, "change": {name: [1 / (at + 1) for at in range(len(some))] for name, some in choices}}
        value = 0.5 + int(hashlib.sha256(job["id"].encode()).hexdigest()[:6], 16) / 2**25
        result = {
            "value": value,
            "dense_value": 0.0,
            "kl": value,
            "accuracy": 0.5,
            "images": 32,
            "cost": {"macs": 1, "params": 1},
            "seconds": {"total": 0.0},
            "device": "none",
        }
        return {"kind": kind, "result": result}

    def _prepared(self, folder: Path) -> tuple[str, str, str]:
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10)).eval()
        ranksearch.pack(net, (torch.zeros(2, 3, 8, 8),), folder / "model.safetensors")
        images = torch.zeros(64, 8, 8, 3, dtype=torch.uint8)
        documents = {"mean": (0.5,) * 3, "std": (1.0,) * 3, "layout": "NHWC"}
        ranksearch.pack_data(images, torch.arange(64) % 10, folder / "data.safetensors", **documents)
        with ranksearch.Client(self.url, self.token) as client:
            model = client.models.upload(folder / "model.safetensors").id
            dataset = client.datasets.upload(folder / "data.safetensors").id
            artifact = client.blobs.upload(folder / "model.safetensors")
        self._artifact = artifact
        self.work(1)
        return model, dataset, artifact


@contextmanager
def fleet(folder: Path, database_url: str | None = None, *options: str, layers: int = SITES) -> Iterator[Fleet]:
    """A service on SQLite, or on the database of this URL, while the block lasts."""
    chosen = ("--database-url", database_url) if database_url else ()
    arguments = ("--lease-seconds", str(_LONG), *chosen, *options)
    with LocalDeployment(folder / "data", workers=0, service_options=arguments) as local:
        yield Fleet(local, folder, layers)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; NaN of none, so that one empty point costs no whole run."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def _named(job: dict[str, Any]) -> tuple[str, str | None]:
    return job["task"]["kind"], job.get("study")


def _sampling(headers: http.client.HTTPMessage) -> float:
    """``sampling;dur=12.5`` → 0.0125."""
    parts = (part.strip().partition(";dur=") for part in (headers.get("Server-Timing") or "").split(","))
    return next((float(value) / 1e3 for name, _, value in parts if name == "sampling"), 0.0)
