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


def test_pull_writes_the_artifact(answers, tmp_path):
    listed = httpx.Response(200, json=wire.page(wire.artifact(DATA)))
    client, requests = answers(listed, whole())
    client.studies.pull(wire.STUDY, tmp_path / "out")
    assert requests[1].url.path.endswith(f"{wire.STUDY}/artifacts/compressed.safetensors")


def test_pull_into_a_directory_keeps_the_name(answers, tmp_path):
    client, _ = answers(httpx.Response(200, json=wire.page(wire.artifact(DATA))), whole())
    assert client.studies.pull(wire.STUDY, tmp_path) == tmp_path / "compressed.safetensors"


def test_pull_waits_while_it_is_being_made(answers, tmp_path):
    pending = httpx.Response(200, json=wire.page(wire.artifact(state="pending")))
    client, _ = answers(pending, httpx.Response(200, json=wire.page(wire.artifact(DATA))), whole())
    assert client.studies.pull(wire.STUDY, tmp_path / "out").read_bytes() == DATA


def test_pull_of_what_is_not_there_says_what_is(answers, tmp_path):
    client, _ = answers(httpx.Response(200, json=wire.page()))
    with pytest.raises(NotFoundError, match="has no compressed"):
        client.studies.pull(wire.STUDY, tmp_path / "out")


def test_pull_of_what_could_not_be_made_says_why(answers, tmp_path):
    failed = wire.artifact(state="failed", error=wire.problem("evaluation_crashed", 500, detail="it crashed"))
    client, _ = answers(httpx.Response(200, json=wire.page(failed)))
    with pytest.raises(Exception, match="it crashed"):
        client.studies.pull(wire.STUDY, tmp_path / "out")
