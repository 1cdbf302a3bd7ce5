from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest


@dataclass
class Process:
    """``python -m service`` on a free port."""

    data_dir: Path
    process: subprocess.Popen[bytes]
    http: httpx.Client
    token: str
    host: str
    port: int

    @staticmethod
    def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """What it has written to stderr so far: to a file, since a pipe that nobody reads stops it when it is full."""
        return _log_of(self.data_dir).read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def launch(data_dir: Path, *arguments: str, token: str | None = None) -> Process:
    """Start one, with the token of its data directory or a given one."""
    command = [sys.executable, "-m", "service", "--data-dir", str(data_dir), "--port", "0", *arguments]
    environment = {} if token is None else {"RANKSEARCH_SERVICE_TOKEN": token}
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with _log_of(data_dir).open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env=os.environ | environment)
    announced = data_dir / "service.json"
    try:
        Process.wait_for(lambda: announced.exists() or process.poll() is not None, seconds=60)
        assert process.poll() is None, _log_of(data_dir).read_text()
    except AssertionError:
        process.kill()
        raise
    url = httpx.URL(json.loads(announced.read_text())["url"])
    token = token or (data_dir / "token").read_text().strip()
    http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)
    return Process(data_dir, process, http, token, url.host, url.port or 0)


def _log_of(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}.log")  # beside it: what is in it is the service's own


def end(process: Process) -> None:
    process.http.close()
    process.process.kill()
    process.process.wait()


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One for all tests that leave nothing in it. What waits in it is woken, or else looks again after a minute."""
    running = launch(tmp_path_factory.mktemp("process") / "data", "--poll-seconds", "60")
    yield running
    end(running)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes that a test may stop or kill."""
    running: list[Process] = []

    def start(*arguments: str) -> Process:
        running.append(launch(tmp_path / "data", *arguments))
        return running[-1]

    yield start
    for one in running:
        end(one)
