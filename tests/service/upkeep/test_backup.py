from __future__ import annotations

import json
import shutil
import stat
import threading

import pytest
from sqlalchemy import delete

from ranksearch.contracts.errors import ConflictError, InputError, UnavailableError
from service.__main__ import main
from service.settings import Settings
from service.storage.migrations import newest_revision
from service.storage.tables import BlobRow, JobRow, ModelRow
from service.upkeep import backup as backing_up
from service.upkeep.backup import back_up
from service.upkeep.manifest import blob_file, read_manifest
from service.upkeep.restore import restore
from tests.service import synthetic
from tests.service.api.conftest import end, launch, launched  # noqa: F401 - a fixture
from tests.service.api.test_events import prepared


@pytest.fixture
def backed_up(service, tmp_path):
    """A back-up of a service with a study half-way; the service, and the folder."""
    service.submit(n_trials=4)
    service.agent().work(3)
    back_up(service.settings, tmp_path / "backup")
    return service, tmp_path / "backup"


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_study_that_was_backed_up_while_its_trials_completed_ends_with_exactly_its_trials(launched, tmp_path):  # noqa: F811 - the fixture
    first = launched("--lease-seconds", "1")
    study, agent = prepared(first, salt=1, n_trials=24)
    working = threading.Thread(target=agent.work)
    working.start()
    first.wait_for(lambda: len(agent.done) >= 6)
    assert main(["backup", str(tmp_path / "backup"), "--data-dir", str(first.data_dir), "--copy"]) == 0
    meanwhile = len(agent.done)
    working.join()
    first.stop()
    assert meanwhile < len(agent.done)

    assert main(["restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "again")]) == 0
    again = launch(tmp_path / "again", "--lease-seconds", "1")
    try:
        assert again.token == first.token
        before = again.http.get(f"/v1/studies/{study}").json()
        assert before["state"] == "running"
        assert 0 < before["progress"]["complete"] < 24
        other = type(agent)(again.http, "w2")

        def completed():
            other.work()
            return again.http.get(f"/v1/studies/{study}").json()["state"] == "completed"

        again.wait_for(completed, 60)
        trials = again.http.get(f"/v1/studies/{study}/trials?limit=200").json()["items"]
        assert [trial["number"] for trial in trials] == list(range(24))
        assert {trial["state"] for trial in trials} == {"COMPLETE"}
    finally:
        end(again)


def test_a_backup_has_the_manifest_the_database_every_blob_and_the_token(backed_up):
    _, folder = backed_up
    blobs = {synthetic.sha256(document) for document in (synthetic.model_document(), synthetic.dataset_document())}
    manifest = read_manifest(folder)
    assert {blob.sha256 for blob in manifest.blobs} == blobs
    assert (manifest.revision, manifest.studies) == (newest_revision(), 1)
    expected = {"manifest.json", "ranksearch.db", *(str(blob_file(folder, sha).relative_to(folder)) for sha in blobs)}
    assert files(folder) == expected
    assert synthetic.sha256((folder / "ranksearch.db").read_bytes()) == manifest.database.sha256
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_blobs_are_linked_or_copied_as_is_asked_for(service, tmp_path):
    sha256 = service.upload_model().json()["blob"]["sha256"]
    for name, link in (("linked", True), ("copied", False)):
        back_up(service.settings, tmp_path / name, link=link)
    folders = (service.settings.data_dir, tmp_path / "linked", tmp_path / "copied")
    inodes = [blob_file(folder, sha256).stat().st_ino for folder in folders]
    assert inodes[0] == inodes[1] != inodes[2]


def test_a_folder_that_exists_is_not_touched(backed_up):
    service, folder = backed_up
    before = files(folder)
    with pytest.raises(ConflictError, match="exists already"):
        back_up(service.settings, folder)
    assert files(folder) == before


def test_a_damaged_blob_is_found_and_nothing_half_written_remains(service, tmp_path):
    sha256 = service.upload_model().json()["blob"]["sha256"]
    blob_file(service.settings.data_dir, sha256).write_bytes(b"other bytes")
    with pytest.raises(UnavailableError) as caught:
        back_up(service.settings, tmp_path / "backup")
    assert caught.value.code == "blob_damaged"
    assert list(tmp_path.iterdir()) == [service.settings.data_dir]


def test_a_blob_that_was_collected_in_between_means_another_snapshot(service, tmp_path, monkeypatch):
    kept = service.upload_model().json()["blob"]["sha256"]
    gone = service.upload_model(synthetic.model_document(salt=5), name="gone").json()
    snapshot, taken = backing_up._snapshot, []

    def then_collect(source, target):
        snapshot(source, target)
        if not taken:
            blob_file(service.settings.data_dir, gone["blob"]["sha256"]).unlink()
            with service.backend.writing() as session:
                session.execute(delete(JobRow).where(JobRow.model_id == gone["id"]))
                session.execute(delete(ModelRow).where(ModelRow.id == gone["id"]))
                session.execute(delete(BlobRow).where(BlobRow.sha256 == gone["blob"]["sha256"]))
        taken.append(1)

    monkeypatch.setattr(backing_up, "_snapshot", then_collect)
    manifest = back_up(service.settings, tmp_path / "backup")
    assert [blob.sha256 for blob in manifest.blobs] == [kept]
    assert len(taken) == 2


def test_a_blob_that_is_missing_for_good_is_named(service, tmp_path):
    sha256 = service.upload_model().json()["blob"]["sha256"]
    blob_file(service.settings.data_dir, sha256).unlink()
    with pytest.raises(UnavailableError) as caught:
        back_up(service.settings, tmp_path / "backup")
    assert (caught.value.code, caught.value.got) == ("blob_damaged", sha256)


@pytest.mark.parametrize("elsewhere", [{"database_url": "postgresql://u@h/n"}, {"blobs_url": "s3://bucket/prefix"}])
def test_what_lies_elsewhere_is_not_copied_in_part(tmp_path, elsewhere):
    settings = Settings(data_dir=tmp_path, token="x" * 16, **elsewhere)
    with pytest.raises(InputError, match="pg_dump"):
        back_up(settings, tmp_path / "backup")


def test_an_empty_directory_is_no_service(tmp_path, capsys):
    assert main(["backup", str(tmp_path / "backup"), "--data-dir", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["code"] == "backup_not_possible"


def test_a_restored_directory_holds_what_was_backed_up(backed_up, tmp_path):
    _, folder = backed_up
    (folder / "token").write_text("a-token-of-the-service\n")
    restore(folder, tmp_path / "again")
    assert files(tmp_path / "again") == files(folder) - {"manifest.json"}
    assert stat.S_IMODE((tmp_path / "again" / "token").stat().st_mode) == 0o600


def test_a_directory_that_is_not_empty_is_refused(backed_up, tmp_path):
    _, folder = backed_up
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "notes").touch()
    with pytest.raises(ConflictError, match="notes"):
        restore(folder, tmp_path / "again")
    assert files(tmp_path / "again") == {"notes"}


def manifest_with(folder, **changes):
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(told | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: next((folder / "blobs").rglob("??" + "?" * 62)).write_bytes(b"x"), "is damaged"),
        (lambda folder: next((folder / "blobs").rglob("??" + "?" * 62)).unlink(), "is incomplete"),
        (lambda folder: (folder / "ranksearch.db").write_bytes(b"x"), "is damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), "is no back-up"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: manifest_with(folder, revision="9999"), "newer program"),
        (lambda folder: manifest_with(folder, format="ranksearch.backup/2"), "cannot be read"),
    ],
)
def test_a_backup_that_cannot_be_trusted_is_refused_and_leaves_nothing(backed_up, tmp_path, damage, words):
    _, folder = backed_up
    shutil.copytree(folder, tmp_path / "copy")  # damage must not reach the service through a link
    damage(tmp_path / "copy")
    with pytest.raises(InputError, match=words) as caught:
        restore(tmp_path / "copy", tmp_path / "again")
    assert caught.value.code == "backup_unusable"
    assert not (tmp_path / "again").exists() or files(tmp_path / "again") == set()
