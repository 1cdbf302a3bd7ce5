"""Uploads, downloads and a whole study with the blobs in an S3-compatible store."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from service.storage.blob_bucket import BucketBlobStore
from service.storage.tables import BlobRow, DatasetRow, JobRow, ModelRow
from tests.ports import free_port
from tests.service import synthetic

BYTES = bytes(range(256)) * 40_000  # more than two pieces
ADDRESS = f"/v1/blobs/{synthetic.sha256(BYTES)}"


@pytest.fixture
def url(s3):
    return s3.bucket()


@pytest.fixture
def team(start, url):
    return start(blobs_url=url)


@pytest.fixture
def away(start):
    return start(blobs_url=f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}")


def spooled(service):
    return list(service.settings.spool_dir.iterdir())


def rows(service):
    with service.backend.reading() as session:
        tables = (BlobRow, ModelRow, DatasetRow, JobRow)
        return sum(session.scalar(select(func.count()).select_from(table)) for table in tables)


def test_a_whole_study_runs_and_its_artifact_comes_from_the_bucket(team, s3, url):
    study = team.submit(n_trials=2)["id"]
    team.agent().work()
    answer = team.http.get(f"/v1/studies/{study}/artifacts/compressed.safetensors")
    assert answer.content == synthetic.model_document(salt=99)
    assert 'filename="compressed.safetensors"' in answer.headers["content-disposition"]
    documents = (synthetic.model_document(), synthetic.dataset_document(), synthetic.model_document(salt=99))
    assert {key.rpartition("/")[2] for key in s3.keys(url)} == {synthetic.sha256(one) for one in documents}
    assert spooled(team) == []


def test_a_blob_goes_there_and_back(team):
    assert [team.http.put(ADDRESS, content=BYTES).status_code for _ in range(2)] == [201, 200]
    answer = team.http.get(ADDRESS)
    assert (answer.content == BYTES, answer.headers["content-length"]) == (True, str(len(BYTES)))
    assert answer.headers["etag"] == f'"{synthetic.sha256(BYTES)}"'


@pytest.mark.parametrize(("header", "part"), [("bytes=5-9", slice(5, 10)), ("bytes=9999999-", slice(9_999_999, None))])
def test_a_part_comes_from_the_bucket(team, header, part):
    team.http.put(ADDRESS, content=BYTES)
    answer = team.http.get(ADDRESS, headers={"range": header})
    assert (answer.status_code, answer.content == BYTES[part]) == (206, True)


def test_a_service_of_its_own_process_takes_the_bucket_from_its_command_line(launched, s3, url):
    service = launched("--blobs-url", url)
    assert service.http.put(ADDRESS, content=BYTES).status_code == 201
    assert service.http.get(ADDRESS).content == BYTES
    assert (len(s3.keys(url)), service.stop()) == (1, 0)


def test_a_document_that_is_none_never_reaches_the_bucket(team, s3, url):
    assert team.http.post("/v1/models?name=m", content=b"not a document").status_code == 422
    assert (s3.keys(url), spooled(team), rows(team)) == ([], [], 0)


def test_bytes_are_taken_back_from_the_bucket_when_their_rows_cannot_be_written(team, s3, url, monkeypatch):
    def fail(*_args):
        raise RuntimeError

    monkeypatch.setattr("service.scheduling.intake.model_view", fail)
    assert team.upload_model().status_code == 500
    assert (s3.keys(url), spooled(team), rows(team)) == ([], [], 0)


def test_an_upload_while_the_store_is_away_is_refused_and_leaves_nothing(away):
    answer = away.upload_model()
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert (spooled(away), rows(away)) == ([], 0)


def test_a_download_while_the_store_is_away_is_refused(away):
    answer = away.http.get(ADDRESS)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")


def test_a_service_whose_store_is_away_lives_but_is_not_ready(away):
    assert away.http.get("/healthz").status_code == 200
    answer = away.http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_not_ready")
    assert "blobs" in answer.json()["detail"]


def test_a_service_whose_store_answers_is_ready(team):
    assert team.http.get("/readyz").status_code == 200


def test_a_download_that_fails_on_the_way_is_cut_and_says_so_in_the_log(team, monkeypatch, caplog):
    team.http.put(ADDRESS, content=BYTES)
    read = BucketBlobStore.read

    def fails_after_one(store, sha256, start, stop):
        pieces = read(store, sha256, start, stop)
        yield next(pieces)
        store.remove(sha256)
        yield from pieces

    monkeypatch.setattr(BucketBlobStore, "read", fails_after_one)
    with caplog.at_level("WARNING"):
        answer = team.http.get(ADDRESS)
    assert 0 < len(answer.content) < int(answer.headers["content-length"]) == len(BYTES)
    assert "a download was cut off" in caplog.text
