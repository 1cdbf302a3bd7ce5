"""Many clients at once."""

from __future__ import annotations

import asyncio

import httpx
import psutil
import pytest

from ranksearch.local import LocalDeployment
from tests.system.test_described_api import prepared

pytestmark = pytest.mark.slow

_CLIENTS = 200


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("crowd") / "data", workers=0) as made:
        yield made


@pytest.fixture
def headers(local):
    return {"authorization": f"Bearer {local.token}"}


def test_two_hundred_clients_submit_poll_and_stream_at_once(local, headers):
    with httpx.Client(base_url=local.url, headers=headers, timeout=60) as http:
        ids = prepared(http)
    wanted = {
        "model": ids["model"],
        "calibration": {"dataset": ids["dataset"], "start": 0, "stop": 20},
        "validation": {"dataset": ids["dataset"], "start": 20, "stop": 40},
        "constraints": {"macs": "50%"},
        "n_trials": 2,
    }

    async def client(http: httpx.AsyncClient, number: int) -> list[int]:
        made = await http.post("/v1/studies", json=wanted, headers={"idempotency-key": f"crowd-{number}"})
        if made.status_code != 202:
            return [made.status_code]
        study = made.json()["id"]
        polled = [(await http.get(f"/v1/studies/{study}")).status_code for _ in range(3)]
        async with http.stream("GET", f"/v1/studies/{study}/events") as stream:
            first = [line async for line in _until(stream.aiter_lines(), "event:")]
        assert first
        return [made.status_code, *polled, stream.status_code]

    async def crowd() -> list[list[int]]:
        limits = httpx.Limits(max_connections=_CLIENTS)
        async with httpx.AsyncClient(base_url=local.url, headers=headers, timeout=240, limits=limits) as http:
            return await asyncio.gather(*(client(http, number) for number in range(_CLIENTS)))

    answers = asyncio.run(crowd())
    assert answers == [[202, 200, 200, 200, 200]] * _CLIENTS
    print(f"memory of the service: {psutil.Process(local.service.pid).memory_info().rss >> 20} MiB")  # noqa: T201 - a figure to report


async def _until(lines, start):
    async for line in lines:
        yield line
        if line.startswith(start):
            return
