"""What a connection may send, by the byte."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from service.connections import HEAD_BYTES
from tests.service.api.test_pace import (  # noqa: F401 - fixtures
    answer_to,
    connect,
    hasty,
    trickling,
)

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /v1/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nTransfer-Encoding: chunked\r\n\r\n"


def sent_until_closed(connection, piece, most=64 * 2**20):
    """How many bytes could be sent."""
    sent = 0
    with suppress(ConnectionError):
        while sent < most:
            sent += connection.send(piece)
    return sent


def head_of(answer):
    return answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "begin",
    [b"GET /healthz?", REQUEST + b"X-Long: ", REQUEST + b"X"],
    ids=["address", "value of a header", "name of a header"],
)
def test_a_head_without_an_end_is_refused(hasty, begin):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        connection.sendall(begin)
        assert sent_until_closed(connection, b"x" * 4096) < 32 * 2**20  # what sockets hold, and not all there is


def test_a_head_that_is_too_long_is_answered_400(hasty):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        with suppress(ConnectionError):
            connection.sendall(REQUEST + b"X-Many: x\r\n" * (HEAD_BYTES // 7 + 1) + b"\r\n")
        with suppress(ConnectionError):
            assert head_of(answer_to(connection)) in {b"HTTP/1.1 400 Bad Request", b""}
    assert hasty.http.get("/healthz").status_code == 200


def test_a_long_head_is_read(hasty):  # noqa: F811 - the fixture
    headers = {f"x-{number}": "x" * 1000 for number in range(60)}
    assert hasty.http.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize("part", [b"X: ", b"5;", b"0\r\nX: "], ids=["no chunk", "extension", "trailer"])
def test_a_body_of_chunks_that_says_nothing_is_refused(hasty, part):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        connection.sendall(CHUNKED % hasty.token.encode() + b"1\r\n{\r\n" + part)
        assert sent_until_closed(connection, b"x" * 4096) < 32 * 2**20


def test_trailers_count_as_head(hasty):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        connection.sendall(CHUNKED % hasty.token.encode() + b"1\r\n{\r\n0\r\n")
        assert sent_until_closed(connection, b"X-Many: x\r\n" * 1000) < 32 * 2**20


def test_nothing_but_line_ends_is_no_request(hasty):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        assert sent_until_closed(connection, b"\r\n" * 2048) < 32 * 2**20


def test_the_rest_of_a_body_that_was_answered_already_is_cut_off(hasty, trickling):  # noqa: F811 - the fixtures
    with connect(hasty) as connection:
        connection.sendall(b"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        trickling(connection)
        with suppress(ConnectionResetError):
            assert head_of(answer_to(connection)).startswith(b"HTTP/1.1 4")


def test_requests_that_come_together_are_answered_in_their_order(hasty):  # noqa: F811 - the fixture
    last = REQUEST.replace(b"healthz", b"nowhere") + b"Connection: close\r\n\r\n"
    with connect(hasty) as connection:
        connection.sendall(REQUEST + b"\r\n" + last)
        answers = answer_to(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"401"]


def test_an_offer_of_another_protocol_is_passed_over(hasty):  # noqa: F811 - the fixture
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
    with connect(hasty) as connection:
        connection.sendall(REQUEST + offer)
        received = b""
        while b"version" not in received:
            received += connection.recv(1 << 16)
        connection.sendall(REQUEST + b"Connection: close\r\n\r\n")
        again = answer_to(connection)
    assert head_of(received) == head_of(again) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Space : x\r\n\r\n",
        b"GET \x80\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["two lengths", "two content lengths", "space in a name", "bytes", "connect", "encrypted"],
)
def test_what_is_no_request_or_could_be_read_as_two_is_refused(hasty, head):  # noqa: F811 - the fixture
    with connect(hasty) as connection:
        connection.sendall(head)
        assert head_of(answer_to(connection)) == b"HTTP/1.1 400 Bad Request"
