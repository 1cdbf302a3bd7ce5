"""A service and a child that do what a test tells them."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from pathlib import Path

from ranksearch.contracts.errors import ConflictError
from ranksearch.contracts.jobs import InspectTask, Job, Lease
from ranksearch.contracts.resources import Blob

SHA = "ab" * 32


def lease(seconds=30.0, token="t1"):  # noqa: S107 - a lease's token, no password
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return Lease(token=token, seconds=seconds, expires_at=expires)


def job(name="job_1", seconds=30.0):
    return Job(id=name, task=InspectTask(model=Blob(sha256=SHA, size=5)), attempt=1, lease=lease(seconds))


class Service:
    """Hands out the given jobs, then nothing; keeps what it is told. ``errors`` are raised first, per call."""

    def __init__(self, jobs=(), errors=None):
        self.jobs = list(jobs)
        self.errors = errors or {}
        self.calls = []
        self.lost = threading.Event()
        self.idle = threading.Event()
        self.drains = threading.Event()

    def _called(self, name, *what):
        self.calls.append((name, *what))
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def named(self, name):
        return [call for call in self.calls if call[0] == name]

    def claim(self, request, *, patience=None, draining=lambda _: None):
        self._called("claim", request)
        draining(self.drains.is_set())
        if self.drains.is_set():
            return None
        if self.jobs:
            return self.jobs.pop(0)
        self.idle.set()
        time.sleep(0.01)
        return None

    def renew(self, job, lease_token, *, patience=None):
        self._called("renew", job)
        if self.lost.is_set():
            raise ConflictError("lease_lost", "another worker has it")
        return lease(0.2)

    def release(self, job, lease_token, *, patience=None):
        self._called("release", job, lease_token)

    def complete(self, job, lease_token, outcome, *, patience=None):
        self._called("complete", job, lease_token, outcome)

    def fail(self, job, lease_token, problem, *, retry=False, patience=None):
        self._called("fail", job, lease_token, problem, retry)

    def leave(self, worker, *, patience=None):
        self._called("leave", worker)

    def download(self, sha256, path):
        self._called("download", sha256)
        Path(path).write_bytes(b"model")
        return path

    def upload(self, path):
        self._called("upload", Path(path).read_bytes())
        return "cd" * 32


REPLY = """
import json, os, signal, sys, time
print('{"sandbox": []}', flush=True)
for line in sys.stdin:
    number = json.loads(line)["number"]
    {body}
"""


def child(body):
    """The command line of a child that runs ``body`` for each assignment, with ``number`` in scope."""
    return [sys.executable, "-c", REPLY.replace("{body}", body.replace("\n", "\n    "))]


GOOD = """
profile = {"dense": {"macs": 1, "params": 1}, "sites": [], "input_shapes": [], "output_shapes": [],
           "solver": str(os.getpid()), "seconds": 0}
print(json.dumps({"number": number, "outcome": {"kind": "inspect", "profile": profile}}), flush=True)
"""
SLOW = "time.sleep(60)"
CRASH = "os.kill(os.getpid(), signal.SIGKILL)"
