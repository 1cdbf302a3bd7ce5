from __future__ import annotations

import base64
import hashlib
import socket

import pytest
from sqlalchemy import func, select

from ranksearch.contracts.errors import UnavailableError
from service.storage.blob_directory import DirectoryBlobStore
from service.storage.blobs import storage_full
from service.storage.tables import BlobRow, DatasetRow, JobRow, ModelRow
from tests.service import synthetic


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def nothing_remains(running) -> bool:
    files = [path for path in running.settings.blobs_dir.rglob("*") if path.is_file()]
    with running.backend.reading() as session:
        tables = (BlobRow, ModelRow, DatasetRow, JobRow)
        rows = [session.scalar(select(func.count()).select_from(table)) for table in tables]
    return files == [] and rows == [0, 0, 0, 0]


def test_a_new_model_is_created_and_located(service):
    answer = service.upload_model()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/models/{answer.json()['id']}"
    assert answer.json()["state"] == "inspecting"


def test_the_same_document_again_is_the_same_model(service):
    first, second = service.upload_model(), service.upload_model(name="other")
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])


def test_a_model_queues_exactly_one_inspection(service):
    service.upload_model()
    service.upload_model()
    agent = service.agent()
    agent.must_claim("inspect")
    assert agent.claim() is None


def test_a_model_whose_inspection_failed_is_inspected_anew(service):
    model = service.upload_model().json()["id"]
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"))
    assert service.get(f"/v1/models/{model}")["state"] == "failed"
    assert service.upload_model().json()["state"] == "inspecting"
    agent.must_claim("inspect")


def test_a_new_data_set_is_summarised(service):
    answer = service.upload_dataset()
    assert answer.status_code == 201
    assert answer.json()["summary"]["count"] == 40


def test_the_same_data_set_again_is_the_same(service):
    assert service.upload_dataset().json()["id"] == service.upload_dataset().json()["id"]


def test_a_matching_digest_is_accepted(service):
    document = synthetic.model_document()
    headers = {"content-digest": digest(document)}
    assert service.http.post("/v1/models?name=m", content=document, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (digest(b"other"), "upload_digest_mismatch"),
        ("sha-256=:abc:", "upload_digest_invalid"),
        ("md5=:abc:", "upload_digest_invalid"),
        ("sha-256=abcdef", "upload_digest_invalid"),
    ],
)
def test_a_digest_that_does_not_hold_leaves_nothing(service, header, code):
    answer = service.http.post(
        "/v1/models?name=m", content=synthetic.model_document(), headers={"content-digest": header}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert nothing_remains(service)


def test_a_blob_must_hash_to_its_address(service):
    answer = service.http.put(f"/v1/blobs/{'0' * 64}", content=b"bytes")
    assert (answer.status_code, answer.json()["code"]) == (400, "upload_digest_mismatch")
    assert nothing_remains(service)


def test_a_blob_is_created_once(service):
    address = f"/v1/blobs/{synthetic.sha256(b'bytes')}"
    assert [service.http.put(address, content=b"bytes").status_code for _ in range(2)] == [201, 200]


def test_a_document_that_is_none_leaves_nothing(service):
    answer = service.http.post("/v1/models?name=m", content=b"not a document")
    assert answer.status_code == 422
    assert answer.json()["code"].startswith("document_")
    assert nothing_remains(service)


def test_a_data_set_that_is_none_leaves_nothing(service):
    answer = service.http.post("/v1/datasets?name=d", content=synthetic.model_document())
    assert answer.json()["code"] == "dataset_header_invalid"
    assert nothing_remains(service)


def test_too_large_by_announcement_leaves_nothing(start):
    running = start(max_upload_bytes=1000)
    answer = running.http.post("/v1/models?name=m", content=b"x" * 1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert nothing_remains(running)


def test_too_large_without_an_announcement_leaves_nothing(start):
    running = start(max_upload_bytes=1000)
    answer = running.http.post("/v1/models?name=m", content=(b"x" * 100 for _ in range(11)))
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert nothing_remains(running)


def test_an_upload_may_be_larger_than_the_limit_for_json(start):
    running = start(max_json_bytes=1000)
    data = b"x" * 5000
    assert running.http.put(f"/v1/blobs/{synthetic.sha256(data)}", content=data).status_code == 201


def test_a_full_disk_leaves_nothing(service, monkeypatch):
    class Full:
        def __init__(self, incoming):
            self._incoming = incoming

        def __getattr__(self, name):
            return getattr(self._incoming, name)

        def write(self, data):
            self._incoming.write(data[:10])
            raise storage_full()

    received = DirectoryBlobStore.receive
    monkeypatch.setattr(DirectoryBlobStore, "receive", lambda self, announced: Full(received(self, announced)))
    answer = service.upload_model()
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert nothing_remains(service)


def test_an_announcement_beyond_the_disk_is_refused_at_once(service, monkeypatch):
    def refuse(_self, _announced):
        raise storage_full() or UnavailableError("storage_full", "")

    monkeypatch.setattr(DirectoryBlobStore, "receive", refuse)
    assert service.upload_model().status_code == 507


def test_a_blob_is_taken_back_when_its_rows_cannot_be_written(service, monkeypatch):
    def fail(*_args):
        raise RuntimeError

    monkeypatch.setattr("service.scheduling.intake.model_view", fail)
    assert service.upload_model().status_code == 500
    assert nothing_remains(service)


def test_a_cut_off_upload_leaves_nothing(process):
    stored = process.data_dir / "blobs" / "sha256"
    before = set(stored.rglob("*"))
    with socket.create_connection((process.host, process.port)) as connection:
        head = (
            f"POST /v1/models?name=cut-off HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {process.token}\r\n"
            "Content-Length: 5000000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * 1_000_000)
        process.wait_for(lambda: list((process.data_dir / "blobs" / "incoming").iterdir()))
    process.wait_for(lambda: not list((process.data_dir / "blobs" / "incoming").iterdir()))
    assert set(stored.rglob("*")) == before
    assert all(model["name"] != "cut-off" for model in process.http.get("/v1/models").json()["items"])


def test_an_early_refusal_is_readable_while_the_body_is_still_being_sent(process):
    answer = process.http.post("/v1/models", params={"name": ""}, content=b"x" * 3_000_000)
    assert answer.status_code == 422
