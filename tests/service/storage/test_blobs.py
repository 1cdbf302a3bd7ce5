from __future__ import annotations

import errno
import os
import subprocess

import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from service.storage import blobs
from service.storage.blob_directory import DirectoryBlobStore
from tests.service.synthetic import sha256


@pytest.fixture
def store(tmp_path):
    return DirectoryBlobStore(tmp_path / "blobs")


def files(store):
    return [path for path in store.root.rglob("*") if path.is_file()]


def put(store, data=b"bytes"):
    incoming = store.receive()
    incoming.write(data)
    blob = incoming.commit()
    incoming.discard()
    return blob


def test_a_blob_is_addressed_by_its_hash(store):
    blob = put(store, b"bytes")
    assert (blob.sha256, blob.size) == (sha256(b"bytes"), 5)
    assert b"".join(store.read(blob.sha256, 0, 5)) == b"bytes"


def test_the_same_bytes_are_stored_once(store):
    put(store)
    put(store)
    assert len(files(store)) == 1


def test_nothing_is_at_the_address_before_the_commit(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    assert not store.holds(sha256(b"bytes"))


def test_discarding_leaves_nothing(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    incoming.discard()
    assert files(store) == []


def test_discarding_after_the_commit_changes_nothing(store):
    incoming = store.receive()
    incoming.write(b"bytes")
    incoming.commit()
    incoming.discard()
    assert store.holds(sha256(b"bytes"))


def test_an_unknown_blob_is_not_found(store):
    with pytest.raises(NotFoundError):
        store.size("0" * 64)


def test_what_a_crash_left_is_removed_at_the_start(store):
    store.receive().write(b"half")
    assert len(files(store)) == 1
    assert files(DirectoryBlobStore(store.root)) == []


def test_more_than_the_disk_has_is_refused_at_once(store):
    with pytest.raises(UnavailableError) as caught:
        store.receive(1 << 60)
    assert caught.value.code == "storage_full"


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_disk_that_fills_up_at_the_end_is_said_to_be_full(store, monkeypatch, step):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    incoming = store.receive()
    incoming.write(b"bytes")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(UnavailableError) as caught:
        incoming.commit()
    incoming.discard()
    assert caught.value.code == "storage_full"
    assert files(store) == []


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
        assert files(store) == []
    finally:
        subprocess.run(["umount", small], check=True)  # noqa: S607 - the system's umount


def test_other_problems_of_the_disk_stay_what_they_are():
    assert blobs.storage_full(OSError(errno.EIO, "I/O error")) is None
