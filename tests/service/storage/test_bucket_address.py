from __future__ import annotations

import pytest

from ranksearch.contracts.errors import InputError
from service.__main__ import main
from service.storage.bucket_address import BucketAddress


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_a_bucket_alone_will_do():
    assert BucketAddress.parse("s3://team") == BucketAddress("team", "", {})


def test_a_prefix_has_no_slashes_around_it():
    assert BucketAddress.parse("s3://team/a/b/").prefix == "a/b"


def test_options_are_the_stores():
    found = BucketAddress.parse("s3://team?endpoint=https://minio:9000&region=eu-central-1")
    assert found.options == {"endpoint": "https://minio:9000", "region": "eu-central-1"}


@pytest.mark.parametrize(
    ("endpoint", "plain"), [("http://minio:9000", True), ("https://minio:9000", False), (None, False)]
)
def test_an_endpoint_that_says_http_is_meant(monkeypatch, endpoint, plain):
    query = "" if endpoint is None else f"?endpoint={endpoint}"
    assert BucketAddress.parse(f"s3://team{query}").plain_http is plain
    if endpoint is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert BucketAddress.parse("s3://team").plain_http is plain


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/var/blobs", "not the URL of a bucket"),
        ("gs://team", "not the URL of a bucket"),
        ("s3:///prefix", "not the URL of a bucket"),
        ("s3://key:secret@team", "no place for credentials"),
        ("s3://team?secret_access_key=x", "parts that nobody knows"),
        ("s3://team#part", "parts that nobody knows"),
        ("s3://team?endpoint=minio:9000", "an endpoint is a URL"),
    ],
)
def test_what_cannot_be_used_is_refused(url, words):
    with pytest.raises(InputError, match=words) as caught:
        BucketAddress.parse(url)
    assert "secret@" not in str(caught.value)


def test_a_service_does_not_start_with_one_that_cannot_be_used(tmp_path, capsys):
    assert main(["--data-dir", str(tmp_path), "--port", "0", "--blobs-url", "ftp://team"]) == 1
    assert "not the URL of a bucket" in capsys.readouterr().err
