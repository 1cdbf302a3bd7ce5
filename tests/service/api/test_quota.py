"""A project stores what it may, and no more, whoever uploads at the same time."""

from __future__ import annotations

import base64
import hashlib
import threading

import pytest
from sqlalchemy import func, select, update

from service.access.quota import used_bytes
from service.storage.blob_directory import DirectoryBlobStore
from service.storage.tables import DEFAULT_PROJECT, BlobRow, DatasetRow, ModelRow, ProjectRow
from tests.service import synthetic
from tests.service.conftest import on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]

MODEL, DATA = synthetic.model_document(), synthetic.dataset_document()


def allow(service, size):
    with service.backend.writing() as session:
        session.execute(update(ProjectRow).where(ProjectRow.id == DEFAULT_PROJECT).values(max_bytes=size))


def used(service):
    with service.backend.reading() as session:
        return used_bytes(session, DEFAULT_PROJECT)


def code(answer):
    return answer.status_code, answer.json()["code"]


def nothing_remains(service):
    with service.backend.reading() as session:
        rows = [session.scalar(select(func.count()).select_from(table)) for table in (BlobRow, ModelRow, DatasetRow)]
    files = [path for path in service.settings.blobs_dir.rglob("*") if path.is_file()]
    return (rows, files) == ([0, 0, 0], [])


def announced(document):
    digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
    return {"content-digest": f"sha-256=:{digest}:"}


def test_what_fits_exactly_is_taken_and_counted(service):
    allow(service, len(MODEL) + len(DATA))
    assert (service.upload_model().status_code, service.upload_dataset().status_code) == (201, 201)
    assert used(service) == len(MODEL) + len(DATA)


def test_one_byte_too_many_is_refused_before_it_is_read(service, monkeypatch):
    allow(service, len(MODEL) - 1)
    monkeypatch.delattr(DirectoryBlobStore, "receive")
    answer = service.upload_model()
    assert code(answer) == (507, "quota_exceeded")
    assert answer.json()["got"] == f"{len(MODEL)} bytes"
    assert answer.json()["expected"] == f"at most {len(MODEL) - 1} bytes more"
    assert "max_bytes" in answer.json()["mend"]
    assert nothing_remains(service)


def test_an_upload_that_does_not_say_its_length_is_refused_on_the_way_and_leaves_nothing(service):
    allow(service, len(DATA) - 1)
    pieces = (DATA[at : at + 100] for at in range(0, len(DATA), 100))
    answer = service.http.post("/v1/datasets?name=d", content=pieces)
    assert code(answer) == (507, "quota_exceeded")
    assert nothing_remains(service)


def test_what_the_project_has_already_takes_no_room(service):
    allow(service, len(MODEL))
    first = service.upload_model()
    again = service.http.post("/v1/models?name=again", content=MODEL, headers=announced(MODEL))
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert used(service) == len(MODEL)


def test_what_is_deleted_makes_room(service):
    allow(service, len(MODEL))
    model = service.upload_model().json()["id"]
    other = synthetic.model_document(salt=1)
    assert code(service.upload_model(other)) == (507, "quota_exceeded")
    assert service.http.delete(f"/v1/models/{model}").status_code == 204
    assert service.upload_model(other).status_code == 201


def test_other_projects_and_the_fleets_factors_take_none(service):
    allow(service, len(MODEL))
    assert service.http.put(f"/v1/factors/{'ab' * 32}", content=b"x" * 5000).status_code == 201
    with service.backend.writing() as session:
        session.add(ProjectRow(id="prj_other", name="other", max_bytes=None, created_at=0.0))
        session.flush()
        sha256 = session.scalars(select(BlobRow.sha256)).one()
        session.add(
            DatasetRow(id="dts_other", name="d", project_id="prj_other", sha256=sha256, summary={}, created_at=0.0)
        )
    assert service.upload_model().status_code == 201
    assert used(service) == len(MODEL)


def test_an_artifact_beyond_the_quota_fails_with_it_and_can_be_made_once_there_is_room(service):
    study = service.submit(n_trials=1)["id"]
    agent = service.agent()
    agent.work(2)
    allow(service, used(service))
    agent.work()
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert (artifact["state"], artifact["error"]["code"]) == ("failed", "quota_exceeded")
    assert service.study(study)["state"] == "completed"
    allow(service, None)
    assert service.http.post(f"/v1/studies/{study}/retry").status_code == 200
    agent.work()
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert artifact["state"] == "ready"
    assert used(service) == len(MODEL) + len(DATA) + len(synthetic.model_document(salt=99))


def test_of_many_uploads_at_once_no_more_are_taken_than_fit(service):
    allow(service, 2 * len(MODEL))
    start, statuses = threading.Barrier(5), []

    def upload(salt):
        document = synthetic.model_document(salt=salt)
        start.wait()
        statuses.append(service.upload_model(document).status_code)

    threads = [threading.Thread(target=upload, args=(salt,)) for salt in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 201, 507, 507, 507]
    assert used(service) == 2 * len(MODEL)
    assert len(list(service.backend.blobs.listing())) == 2
