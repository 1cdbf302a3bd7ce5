from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.service.api.conftest import end as end_process
from tests.service.api.conftest import launch


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A service without patience."""
    data_dir = tmp_path_factory.mktemp("hasty") / "data"
    running = launch(data_dir, "--header-seconds", "0.5", "--body-seconds", "0.5", "--body-bytes-per-second", "100000")
    yield running
    end_process(running)


def connect(service):
    return socket.create_connection((service.host, service.port), timeout=10)


def head(service, length, path="/v1/models?name=m"):
    lines = (f"POST {path} HTTP/1.1", f"Host: {service.host}", f"Authorization: Bearer {service.token}")
    return "\r\n".join([*lines, "Content-Type: application/json", f"Content-Length: {length}", "", ""]).encode()


def trickle(connection, stop, data=b"x"):
    try:
        while not stop.wait(0.05):
            connection.sendall(data)
    except OSError:
        pass


def answer_to(connection):
    """All that comes before the end; what is sent to an end that has closed already resets the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


@pytest.fixture
def trickling():
    """Sends bytes now and then, for as long as a test lasts."""
    stop, threads = threading.Event(), []

    def start(*arguments):
        threads.append(threading.Thread(target=trickle, args=(arguments[0], stop, *arguments[1:])))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def test_a_connection_that_says_nothing_is_closed(hasty):
    with connect(hasty) as connection:
        assert answer_to(connection) == b""


def test_a_head_that_trickles_is_cut_off(hasty, trickling):
    with connect(hasty) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        trickling(connection)
        assert answer_to(connection) == b""


def test_a_second_head_of_a_connection_that_trickles_is_cut_off(hasty, trickling):
    with connect(hasty) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = b""
        while b"version" not in answered:
            answered += connection.recv(1 << 16)
        connection.sendall(b"GET ")
        trickling(connection)
        began = time.monotonic()
        assert answer_to(connection) == b""
        assert time.monotonic() - began < 30  # long before the connection's end by being idle


@pytest.mark.parametrize("path", ["/v1/models?name=m", "/v1/studies"])
def test_a_body_that_stalls_is_given_up(hasty, path):
    with connect(hasty) as connection:
        connection.sendall(head(hasty, 1000, path) + b"{")
        received = answer_to(connection)
    assert b" 408 " in received.partition(b"\r\n")[0]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == "upload_stalled"


def test_a_body_that_trickles_is_given_up(hasty, trickling):
    with connect(hasty) as connection:
        connection.sendall(head(hasty, 1_000_000))
        trickling(connection)
        assert b"upload_stalled" in answer_to(connection)


def test_what_a_given_up_upload_left_is_removed(hasty):
    with connect(hasty) as connection:
        connection.sendall(head(hasty, 1_000_000) + b"x" * 1000)
        answer_to(connection)
    incoming = hasty.data_dir / "blobs" / "incoming"
    hasty.wait_for(lambda: not incoming.exists() or not any(incoming.iterdir()))


def test_an_answer_may_take_longer_than_a_body(hasty):
    about = {"worker": "w", "name": "w", "device": "cpu", "version": hasty.http.get("/healthz").json()["version"]}
    began = time.monotonic()
    assert hasty.http.post("/v1/jobs/claim", json={**about, "wait_seconds": 1}).status_code == 204
    assert time.monotonic() - began >= 1
