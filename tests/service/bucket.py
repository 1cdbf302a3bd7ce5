"""A real S3 server in a process of its own: moto's."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.ports import free_port


@dataclass(frozen=True)
class S3Server:
    """Where it listens; it takes any credentials."""

    endpoint: str

    def bucket(self) -> str:
        """A new bucket; the URL of a place in it."""
        name = f"blobs-{secrets.token_hex(6)}"
        httpx.put(f"{self.endpoint}/{name}").raise_for_status()
        return f"s3://{name}/some/where?endpoint={self.endpoint}"

    def keys(self, url: str) -> list[str]:
        """What is in the bucket, read without the code under test."""
        name = url.removeprefix("s3://").partition("/")[0]
        listed = httpx.get(f"{self.endpoint}/{name}?list-type=2").raise_for_status().text
        return [part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """It lives as long as the block; its credentials are in the environment."""
    server = S3Server(f"http://127.0.0.1:{free_port()}")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", server.endpoint.rpartition(":")[2]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(server.endpoint):
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.05)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ACCESS_KEY_ID", "tests")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "tests")
            yield server
    finally:
        process.kill()
        process.wait()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/moto-api/data.json").is_success
    except httpx.TransportError:
        return False
