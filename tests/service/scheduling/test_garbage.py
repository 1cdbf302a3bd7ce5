"""Blobs that nobody needs are removed; what anybody needs, or is about to need, never is."""

from __future__ import annotations

import os
import threading
import time

import pytest
from sqlalchemy import select, update

from ranksearch.contracts.jobs import CompleteRequest
from service.scheduling import blob_rows, garbage
from service.scheduling.blob_rows import remove_garbage
from service.scheduling.garbage import GarbageSearch, forget_blobs
from service.scheduling.intake import take_blob
from service.scheduling.outcomes import complete
from service.storage.tables import BlobRow, FactorRow, JobRow, Table
from tests.service import synthetic

DAY = 86_400.0


def put(service, data=b"bytes"):
    sha256 = synthetic.sha256(data)
    assert service.http.put(f"/v1/blobs/{sha256}", content=data).status_code in (200, 201)
    return sha256


def grow_old(service, *hashes, seconds=2 * DAY):
    """Nobody has touched these rows for so long."""
    with service.backend.writing() as session:
        rows = update(BlobRow).where(BlobRow.sha256.in_(hashes)) if hashes else update(BlobRow)
        session.execute(rows.values(touched_at=BlobRow.touched_at - seconds))


def row_of(service, sha256):
    with service.backend.reading() as session:
        return session.get(BlobRow, sha256)


def stored(service):
    return {one.sha256 for one in service.backend.blobs.listing()}


def rows_without_bytes(service):
    with service.backend.reading() as session:
        return set(session.scalars(select(BlobRow.sha256))) - stored(service)


def test_what_nothing_refers_to_goes_after_its_grace(service):
    sha256 = put(service)
    assert forget_blobs(service.backend, DAY) == 0
    grow_old(service)
    assert forget_blobs(service.backend, DAY) == 1
    assert (row_of(service, sha256), stored(service)) == (None, set())


def test_what_anything_refers_to_stays(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    assert service.http.put(f"/v1/factors/{'ab' * 32}", content=b"factors").status_code == 201
    before = stored(service)
    grow_old(service)
    assert forget_blobs(service.backend, DAY) == 0
    assert stored(service) == before
    assert len(before) == 4  # a model, a data set, an artifact, factors
    assert service.http.get(f"/v1/studies/{study}/artifacts/compressed.safetensors").status_code == 200


def test_bytes_that_are_brought_again_are_kept_for_another_grace(service):
    sha256 = put(service)
    grow_old(service)
    put(service)
    assert forget_blobs(service.backend, DAY) == 0
    assert row_of(service, sha256) is not None


def test_one_collection_forgets_a_bounded_portion_oldest_first(service, monkeypatch):
    monkeypatch.setattr(garbage, "_AT_ONCE", 2)
    hashes = [put(service, bytes([number])) for number in range(3)]
    for age, sha256 in enumerate(hashes):
        grow_old(service, sha256, seconds=(5 - age) * DAY)
    assert [forget_blobs(service.backend, DAY) for _ in range(3)] == [2, 1, 0]


def lose_row(service, sha256):
    """As a process leaves it that died between storing the bytes and their row."""
    with service.backend.writing() as session:
        session.delete(session.get_one(BlobRow, sha256))
    path = service.backend.blobs.address(sha256)
    os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))


def test_bytes_without_a_row_are_found(service):
    known, lost = put(service, b"known"), put(service, b"lost")
    lose_row(service, lost)
    assert GarbageSearch(service.backend).remove(DAY) == 1
    assert stored(service) == {known}


def test_young_bytes_without_a_row_are_left_to_who_brought_them(service):
    known, lost = put(service, b"known"), put(service, b"lost")
    lose_row(service, lost)
    os.utime(service.backend.blobs.address(lost))
    assert GarbageSearch(service.backend).remove(DAY) == 0
    assert stored(service) == {known, lost}


def test_a_store_that_is_mostly_unknown_is_left_alone(service, caplog):
    for number in range(3):
        lose_row(service, put(service, bytes([number])))
    put(service, b"known")
    with caplog.at_level("WARNING"):
        assert GarbageSearch(service.backend).remove(DAY) == 0
    assert (len(stored(service)), "another service's" in caplog.text) == (4, True)


def test_the_search_goes_on_where_it_was_and_begins_anew(service, monkeypatch):
    monkeypatch.setattr(garbage, "_LISTED", 2)
    hashes = sorted(put(service, bytes([number])) for number in range(5))
    lose_row(service, hashes[3])
    search = GarbageSearch(service.backend)
    assert [search.remove(DAY) for _ in range(2)] == [0, 1]
    lose_row(service, hashes[0])
    assert [search.remove(DAY) for _ in range(2)] == [0, 1]


def test_garbage_with_a_row_is_none(service):
    sha256 = put(service)
    assert not remove_garbage(service.backend, sha256)
    assert service.backend.blobs.holds(sha256)


def test_bytes_that_vanish_before_their_row_is_made_are_stored_again(service, monkeypatch):
    """The moment between storing the bytes and making their row, in which another process may remove them."""
    incoming = service.backend.blobs.receive()
    incoming.write(b"bytes")
    ensure_row, removals = blob_rows._ensure_row, iter([True])

    def removed_first(session, blob):
        if next(removals, False):
            service.backend.blobs.remove(blob.sha256)
        return ensure_row(session, blob)

    monkeypatch.setattr(blob_rows, "_ensure_row", removed_first)
    blob, new = take_blob(service.backend, incoming)
    incoming.discard()
    assert (new, service.backend.blobs.holds(blob.sha256)) == (True, True)


class Sweeper:
    """Forgets and removes without a grace, again and again, in a thread of its own."""

    def __init__(self, backend):
        self.forgotten, self.problems = 0, []
        self._backend, self._stop = backend, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            try:
                self.forgotten += forget_blobs(self._backend, -1)
                for one in list(self._backend.blobs.listing()):
                    self.forgotten += remove_garbage(self._backend, one.sha256)
            except Exception as problem:  # noqa: BLE001 - whatever it is, the test is to show it
                self.problems.append(problem)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_args):
        self._stop.set()
        self._thread.join()


def test_uploads_of_the_same_bytes_during_collections_never_leave_a_row_without_bytes(service):
    """Two users bring one document, under two keys, while everything unreferenced is removed at once."""
    problems = []

    def upload(which):
        for round_ in range(12):
            key = synthetic.sha256(f"{which} {round_}".encode())
            answer = service.http.put(f"/v1/factors/{key}", content=b"the same bytes %d" % round_)
            got = service.http.get(f"/v1/factors/{key}")
            if answer.status_code != 201 or got.content != b"the same bytes %d" % round_:
                problems.append((answer.text, got.text))
            with service.backend.writing() as session:  # nothing refers to them again
                session.delete(session.get_one(FactorRow, key))

    with Sweeper(service.backend) as sweeper:
        threads = [threading.Thread(target=upload, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (problems, sweeper.problems) == ([], [])
    assert sweeper.forgotten > 0
    assert rows_without_bytes(service) == set()


def test_a_compression_that_completes_during_collections_keeps_its_artifact(service):
    """Its bytes are as old as those of an artifact made before; the worker brings them again, then completes."""
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    job = agent.must_claim("compress")
    document = synthetic.model_document(salt=99)
    put(service, document)
    grow_old(service)
    outcome = agent.outcome(job)  # brings them again
    start = threading.Barrier(2)

    def collect():
        start.wait()
        for _ in range(20):
            forget_blobs(service.backend, DAY)

    thread = threading.Thread(target=collect)
    thread.start()
    start.wait()
    complete(
        service.backend,
        job["id"],
        CompleteRequest.model_validate({"lease_token": job["lease"]["token"], "outcome": outcome}),
    )
    thread.join()
    assert service.http.get(f"/v1/studies/{study}/artifacts/compressed.safetensors").content == document
    assert rows_without_bytes(service) == set()


def test_a_reference_that_is_being_made_keeps_a_blob(service):
    """Whoever refers to a blob locks its row: a collection passes it over, or waits and then sees the reference."""
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    sha256 = put(service)
    grow_old(service)
    job = agent.must_claim("compress")
    forgotten = []
    with service.backend.writing() as session:
        assert blob_rows.hold(session, sha256)
        thread = threading.Thread(target=lambda: forgotten.append(forget_blobs(service.backend, DAY)))
        thread.start()
        if service.backend.database.engine.dialect.name == "postgresql":
            thread.join()  # it does not wait for rows that others hold
        session.execute(update(JobRow).where(JobRow.id == job["id"]).values(artifact=sha256))
    thread.join()
    assert forgotten == [0]
    assert service.backend.blobs.holds(sha256)
    assert row_of(service, sha256) is not None
    assert service.study(study)["state"] == "completed"


def test_every_table_that_refers_to_blobs_is_asked(service):
    """A new table that refers to blobs must be known to the collection."""
    asked = str(garbage._unreferenced())
    referring = [
        f"{table.name}.{key.parent.name}"
        for table in Table.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == "rs_blobs"
    ]
    assert len(referring) == 6
    assert [column for column in referring if column not in asked] == []


@pytest.mark.parametrize("seam", ["remove", "commit"])
def test_a_process_that_dies_while_bytes_are_removed_leaves_no_row_without_bytes(service, monkeypatch, seam):
    class Crash(BaseException):
        pass

    def dies(*_args):
        raise Crash

    sha256 = put(service)
    grow_old(service)
    store = type(service.backend.blobs)
    with monkeypatch.context() as crashing:
        if seam == "remove":
            crashing.setattr(store, "remove", dies)
        else:
            crashing.setattr(garbage, "remove_garbage", dies)
        with pytest.raises(Crash):
            forget_blobs(service.backend, DAY)
    assert row_of(service, sha256) is None
    assert stored(service) == {sha256}
    assert remove_garbage(service.backend, sha256)
    assert stored(service) == set()
