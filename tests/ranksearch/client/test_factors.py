import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from tests.ranksearch import wire

DATA = bytes(range(256)) * 64
SHA = wire.sha256(DATA)
KEY = "ab" * 32
TAG = {"etag": f'"{SHA}"'}
PROBLEM = {"content-type": "application/problem+json"}


class Cut(httpx.SyncByteStream):
    def __iter__(self):
        yield DATA[:1000]
        raise httpx.ReadError("cut")


def cut():
    return httpx.Response(200, stream=Cut(), headers={"content-length": str(len(DATA)), **TAG})


def rest():
    span = f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"
    return httpx.Response(206, content=DATA[1000:], headers={"content-range": span, **TAG})


@pytest.fixture
def target(tmp_path):
    return tmp_path / "factors"


def test_factors_are_written_to_the_file(answers, target):
    client, requests = answers(httpx.Response(200, content=DATA, headers=TAG))
    assert client.factors.download(KEY, target).read_bytes() == DATA
    assert (requests[0].method, requests[0].url.path) == ("GET", f"/v1/factors/{KEY}")


def test_a_cut_is_taken_up_if_the_factors_are_still_the_same(answers, target):
    client, requests = answers(cut(), rest())
    assert client.factors.download(KEY, target).read_bytes() == DATA
    assert (requests[1].headers["range"], requests[1].headers["if-range"]) == ("bytes=1000-", f'"{SHA}"')


def test_other_factors_after_a_cut_are_taken_whole(answers, target):
    other = httpx.Response(200, content=b"other", headers={"etag": f'"{wire.sha256(b"other")}"'})
    client, _ = answers(cut(), other)
    assert client.factors.download(KEY, target).read_bytes() == b"other"


def test_bytes_that_are_not_what_the_tag_says_are_refused(answers, target):
    client, _ = answers(httpx.Response(200, content=b"something else", headers=TAG))
    with pytest.raises(UnavailableError, match="not what was announced"):
        client.factors.download(KEY, target)
    assert list(target.parent.iterdir()) == []


def test_factors_that_nobody_has_computed_are_not_found(answers, target):
    client, _ = answers(httpx.Response(404, json=wire.problem("factors_not_found", 404), headers=PROBLEM))
    with pytest.raises(NotFoundError) as caught:
        client.factors.download(KEY, target)
    assert caught.value.code == "factors_not_found"


def test_a_service_that_is_away_is_waited_for_no_longer_than_asked(answers, pauses, target):
    client, requests = answers(*[httpx.ConnectError("refused")] * 50)
    with pytest.raises(UnavailableError):
        client.factors.download(KEY, target, patience=0)
    assert len(requests) == 1


def test_factors_are_put_under_their_key(answers, target):
    target.write_bytes(DATA)
    client, requests = answers(httpx.Response(201, json={"sha256": SHA, "size": len(DATA)}))
    assert client.factors.upload(KEY, target).sha256 == SHA
    assert (requests[0].method, requests[0].url.path) == ("PUT", f"/v1/factors/{KEY}")
    assert (requests[0].content, "content-digest" in requests[0].headers) == (DATA, True)
