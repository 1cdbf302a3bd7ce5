"""Clients that hold their connections open on purpose: everybody else is served."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import httpx
import psutil
import pytest

from ranksearch.local import LocalDeployment

pytestmark = pytest.mark.slow

_SLOW = 150


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    options = ("--header-seconds", "3", "--body-seconds", "3")
    with LocalDeployment(tmp_path_factory.mktemp("crowd") / "data", workers=0, service_options=options) as made:
        yield made


@pytest.fixture
def headers(local):
    return {"authorization": f"Bearer {local.token}"}


def trickle(address: tuple[str, int], head: bytes, stop: threading.Event) -> None:
    """Open many connections and send each a byte now and then, until told to stop."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(_SLOW)]
        for connection in connections:
            connection.sendall(head)
        while not stop.wait(0.2):
            for connection in connections:
                with contextlib.suppress(OSError):  # given up by the service, as it should be
                    connection.send(b"x")


@pytest.mark.parametrize("part", ["head", "body"])
def test_clients_that_trickle_keep_nobody_waiting_and_are_given_up(local, headers, part):
    url = httpx.URL(local.url)
    head = b"POST /v1/models?name=slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % local.token.encode()
    head += b"Content-Length: 1000000\r\n\r\n" if part == "body" else b"X-Slow: "
    service = psutil.Process(local.service.pid)
    at_rest, stop = len(service.net_connections()), threading.Event()
    slow = threading.Thread(target=trickle, args=((url.host, url.port), head, stop))
    slow.start()
    try:
        with httpx.Client(base_url=local.url, headers=headers, timeout=20) as http:
            for _ in range(20):
                assert http.get("/v1/models").status_code == 200
            deadline = time.monotonic() + 120
            while len([one for one in service.net_connections() if one.status == "ESTABLISHED"]) > at_rest + 5:
                assert time.monotonic() < deadline
                assert http.get("/v1/models").status_code == 200
                time.sleep(0.2)
    finally:
        stop.set()
        slow.join()
    assert not list((local.data_dir / "blobs" / "incoming").glob("*"))
