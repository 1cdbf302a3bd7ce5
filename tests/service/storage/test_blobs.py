"""What every blob store does, and what each does in its own way."""

from __future__ import annotations

import errno
import os
import subprocess
import time

import obstore
import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from service.storage import blobs
from service.storage.blob_bucket import BucketBlobStore
from service.storage.blob_directory import DirectoryBlobStore
from service.storage.bucket_address import BucketAddress
from tests.ports import free_port
from tests.service.synthetic import sha256

LARGE = os.urandom(1 << 20) * 21
"""More than two parts of a multipart upload, and many pieces of a download."""


@pytest.fixture
def directory(tmp_path):
    return DirectoryBlobStore(tmp_path / "blobs")


@pytest.fixture
def bucket_url(s3):
    return s3.bucket()


@pytest.fixture
def bucket(bucket_url, tmp_path):
    return BucketBlobStore(BucketAddress.parse(bucket_url), tmp_path / "incoming")


@pytest.fixture(params=["directory", "bucket"])
def store(request):
    return request.getfixturevalue(request.param)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def put(store, data=b"bytes"):
    incoming = store.receive()
    incoming.write(data)
    blob = incoming.commit()
    incoming.discard()
    return blob


def read(store, blob, start=0, stop=None):
    return b"".join(store.read(blob.sha256, start, blob.size if stop is None else stop))


def test_a_blob_is_addressed_by_its_hash(store):
    blob = put(store, b"bytes")
    assert (blob.sha256, blob.size) == (sha256(b"bytes"), 5)
    assert (store.size(blob.sha256), read(store, blob)) == (5, b"bytes")


def test_an_empty_blob_is_one(store):
    blob = put(store, b"")
    assert (store.holds(blob.sha256), store.size(blob.sha256), read(store, blob)) == (True, 0, b"")


def test_a_large_blob_comes_back_as_it_was(store):
    blob = put(store, LARGE)
    pieces = list(store.read(blob.sha256, 0, blob.size))
    assert sha256(b"".join(pieces)) == blob.sha256
    assert max(len(piece) for piece in pieces) <= 4 << 20


def test_a_part_of_a_blob_can_be_read(store):
    blob = put(store, LARGE)
    for start, stop in ((0, 1), (5 << 20, 5 << 20), (3, 9 << 20), (len(LARGE) - 7, len(LARGE))):
        assert read(store, blob, start, stop) == LARGE[start:stop]


def test_the_same_bytes_are_stored_once(store):
    put(store)
    put(store)
    assert [one.sha256 for one in store.listing()] == [sha256(b"bytes")]


def test_a_commit_may_be_repeated_after_the_blob_was_removed(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    incoming.commit()
    store.remove(sha256(b"bytes"))
    incoming.commit()
    assert store.holds(sha256(b"bytes"))


def test_nothing_is_at_the_address_before_the_commit(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    assert not store.holds(sha256(b"bytes"))


def test_an_unknown_blob_is_not_found(store):
    with pytest.raises(NotFoundError) as caught:
        store.size("0" * 64)
    assert caught.value.code == "blob_not_found"
    with pytest.raises(NotFoundError):
        list(store.read("0" * 64, 0, 1))


def test_what_is_removed_is_gone_and_may_be_removed_again(store):
    blob = put(store)
    store.remove(blob.sha256)
    store.remove(blob.sha256)
    assert not store.holds(blob.sha256)


def test_the_listing_ascends_and_goes_on_after_a_blob(store):
    stored = sorted(put(store, bytes([number])).sha256 for number in range(12))
    assert [one.sha256 for one in store.listing()] == stored
    assert [one.sha256 for one in store.listing(after=stored[4])] == stored[5:]
    assert list(store.listing(after=stored[-1])) == []


def test_the_listing_says_when_a_blob_was_stored(store):
    put(store)
    (one,) = store.listing()
    assert abs(one.modified - time.time()) < 60


def test_a_store_that_is_there_answers(store):
    store.check()


def test_discarding_leaves_nothing(store, tmp_path):
    incoming = store.receive()
    incoming.write(b"bytes")
    incoming.discard()
    assert files(tmp_path) == []


def test_discarding_after_the_commit_changes_nothing(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    incoming.commit()
    incoming.discard()
    assert store.holds(sha256(b"bytes"))


def test_what_a_crash_left_is_removed_at_the_start(directory, tmp_path):
    directory.receive().write(b"half")
    assert len(files(tmp_path)) == 1
    DirectoryBlobStore(directory.root)
    assert files(tmp_path) == []


def test_what_a_crash_left_of_an_upload_to_a_bucket_is_removed_at_the_start(bucket, bucket_url, tmp_path):
    bucket.receive().write(b"half")
    assert len(files(tmp_path)) == 1
    BucketBlobStore(BucketAddress.parse(bucket_url), tmp_path / "incoming")
    assert files(tmp_path) == []


def test_more_than_the_disk_has_is_refused_at_once(store):
    with pytest.raises(UnavailableError) as caught:
        store.receive(1 << 60)
    assert caught.value.code == "storage_full"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_disk_that_fills_up_at_the_end_is_said_to_be_full(directory, monkeypatch, step):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    incoming = directory.receive()
    incoming.write(b"bytes")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(UnavailableError) as caught:
        incoming.commit()
    incoming.discard()
    assert caught.value.code == "storage_full"
    assert files(directory.root) == []


def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        store = DirectoryBlobStore(small / "blobs")
        incoming = store.receive()
        with pytest.raises(UnavailableError) as caught:
            incoming.write(b"x" * 400_000)
        incoming.discard()
        assert caught.value.code == "storage_full"
        assert files(small) == []
    finally:
        subprocess.run(["umount", small], check=True)  # noqa: S607 - the system's umount


def test_other_problems_of_the_disk_stay_what_they_are():
    assert blobs.storage_full(OSError(errno.EIO, "I/O error")) is None


def test_a_spool_whose_disk_fills_up_is_said_to_be_full(bucket, monkeypatch, tmp_path):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    incoming = bucket.receive()
    incoming.write(b"bytes")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError) as caught:
        incoming.commit()
    incoming.discard()
    assert caught.value.code == "storage_full"
    assert (files(tmp_path), bucket.holds(sha256(b"bytes"))) == ([], False)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links_will_do(directory, monkeypatch, number):
    def refuse(*_args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    blob = put(directory)
    assert read(directory, blob) == b"bytes"
    assert files(directory.root) == [directory.address(blob.sha256)]


def test_what_is_no_blob_is_not_listed(directory):
    blob = put(directory)
    (directory.address(blob.sha256).parent / "note").write_text("of the administrator")
    assert [one.sha256 for one in directory.listing()] == [blob.sha256]


def test_bytes_that_a_bucket_has_are_not_sent_again(bucket, monkeypatch):
    put(bucket)
    monkeypatch.delattr(obstore, "put")
    assert put(bucket).sha256 == sha256(b"bytes")


def test_objects_lie_below_the_prefix_under_their_hash(bucket, bucket_url, s3):
    blob = put(bucket)
    assert s3.keys(bucket_url) == [f"some/where/sha256/{blob.sha256[:2]}/{blob.sha256}"]


USES = {
    "check": lambda store: store.check(),
    "holds": lambda store: store.holds("0" * 64),
    "size": lambda store: store.size("0" * 64),
    "read": lambda store: list(store.read("0" * 64, 0, 1)),
    "remove": lambda store: store.remove("0" * 64),
    "listing": lambda store: list(store.listing()),
    "commit": put,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.usefixtures("s3")
def test_a_store_that_is_away_is_said_to_be(tmp_path, use):
    url = f"s3://bucket/prefix?endpoint=http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError) as caught:
        use(BucketBlobStore(BucketAddress.parse(url), tmp_path / "incoming"))
    assert (caught.value.code, caught.value.status) == ("storage_unavailable", 503)
    assert "AWS_" in caught.value.mend
    assert "\n" not in caught.value.got


@pytest.mark.parametrize("use", ["check", "commit"])
def test_a_bucket_that_does_not_exist_is_said_not_to(s3, tmp_path, use):
    url = f"s3://nobody-made-it?endpoint={s3.endpoint}"
    with pytest.raises(UnavailableError) as caught:
        USES[use](BucketBlobStore(BucketAddress.parse(url), tmp_path / "incoming"))
    assert caught.value.code == "storage_unavailable"
    assert "NoSuchBucket" in caught.value.got
