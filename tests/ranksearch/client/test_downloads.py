import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from tests.ranksearch import wire

DATA = bytes(range(256)) * 2048
SHA = wire.sha256(DATA)
SIZE = len(DATA)


class Cut(httpx.SyncByteStream):
    """A body whose connection ends early."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield self.data
        raise httpx.ReadError("cut")


def whole():
    return httpx.Response(200, content=DATA)


def cut(at, start=0):
    headers = {"content-length": str(SIZE - start)}
    if start:
        headers["content-range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
    return httpx.Response(206 if start else 200, stream=Cut(DATA[start:at]), headers=headers)


def rest(start):
    headers = {"content-range": f"bytes {start}-{SIZE - 1}/{SIZE}"}
    return httpx.Response(206, content=DATA[start:], headers=headers)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "deep" / "file"


def test_the_bytes_are_written(answers, target):
    client, _ = answers(whole())
    assert client.blobs.download(SHA, target).read_bytes() == DATA


def test_a_cut_is_taken_up_where_it_was(answers, target):
    client, requests = answers(cut(1000), rest(1000))
    client.blobs.download(SHA, target)
    assert (target.read_bytes() == DATA, requests[1].headers["range"]) == (True, "bytes=1000-")


def test_two_cuts_are_taken_up(answers, target):
    client, _ = answers(cut(1000), cut(3000, start=1000), rest(3000))
    assert client.blobs.download(SHA, target).read_bytes() == DATA


def test_a_service_without_ranges_is_read_from_the_beginning(answers, target):
    client, _ = answers(cut(1000), whole())
    assert client.blobs.download(SHA, target).read_bytes() == DATA


def test_a_cut_after_the_last_byte_is_no_loss(answers, target):
    client, _ = answers(cut(SIZE), httpx.Response(416))
    assert client.blobs.download(SHA, target).read_bytes() == DATA


def test_a_service_that_is_away_meanwhile_is_waited_for(answers, target):
    client, _ = answers(cut(1000), httpx.ConnectError("refused"), httpx.Response(503), rest(1000))
    assert client.blobs.download(SHA, target).read_bytes() == DATA


def test_wrong_bytes_are_refused(answers, target):
    client, _ = answers(httpx.Response(200, content=b"something else"))
    with pytest.raises(UnavailableError, match="not what was announced"):
        client.blobs.download(SHA, target)


def test_after_a_failure_nothing_is_left(answers, target):
    client, _ = answers(httpx.Response(200, content=b"something else"))
    with pytest.raises(UnavailableError):
        client.blobs.download(SHA, target)
    assert list(target.parent.iterdir()) == []


def test_a_failure_leaves_the_old_file(answers, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    client, _ = answers(httpx.Response(200, content=b"something else"))
    with pytest.raises(UnavailableError):
        client.blobs.download(SHA, target)
    assert target.read_bytes() == b"old"


def test_a_missing_blob_is_named(answers, target):
    answer = httpx.Response(
        404, json=wire.problem("blob_not_found", 404), headers={"content-type": "application/problem+json"}
    )
    client, _ = answers(answer)
    with pytest.raises(NotFoundError):
        client.blobs.download(SHA, target)


def test_progress_ends_with_all(answers, target):
    client, _ = answers(whole())
    seen = []
    client.blobs.download(SHA, target, size=SIZE, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (SIZE, SIZE)
