from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy import text

from service.scheduling.mirroring import mirror
from service.storage.migrations import VERSION_TABLE
from service.upkeep.examination import examine
from service.upkeep.manifest import blob_file
from tests.service.conftest import on_both


@pytest.fixture
def examined(service):
    """What is found, by the name of the check; the service as it is after a study."""
    study = service.submit(n_trials=3)["id"]
    service.agent().work()
    assert service.study(study)["state"] == "completed"
    mirror(service.backend)

    def look(**options):
        return {check.name: check for check in examine(service.settings, **options).checks}

    return look


def states(found):
    return {name: check.status for name, check in found.items()}


def execute(service, statement):
    with service.backend.writing() as session:
        session.execute(text(statement))


@on_both
def test_a_service_in_order(service, examined):
    found = states(examined())
    assert set(found.values()) <= {"ok", "warn"}
    in_order = ("database", "schema", "integrity", "leases", "trials", "blobs", "orphans")
    assert {name: found[name] for name in in_order} == dict.fromkeys(in_order, "ok")


def test_looking_changes_nothing_and_leaves_what_arrives_alone(service, examined):
    arriving = service.settings.blobs_dir / "incoming" / "half"
    arriving.write_bytes(b"x")
    before = (service.settings.data_dir / "ranksearch.db").read_bytes()
    examined(deep=True)
    assert arriving.exists()
    assert (service.settings.data_dir / "ranksearch.db").read_bytes() == before


def test_a_blob_that_is_gone(service, examined):
    (sha256,) = service.backend.reading().__enter__().execute(text("SELECT sha256 FROM rs_blobs LIMIT 1")).one()
    blob_file(service.settings.data_dir, sha256).unlink()
    check = examined()["blobs"]
    assert (check.status, sha256 in check.what) == ("fail", True)


def test_a_damaged_blob_is_found_by_reading_it(service, examined):
    blob = next(path for path in (service.settings.blobs_dir / "sha256").rglob("*") if path.is_file())
    blob.write_bytes(bytes(reversed(blob.read_bytes())))
    assert (examined()["blobs"].status, examined(deep=True)["blobs"].status) == ("ok", "fail")


def test_bytes_that_no_row_names(service, examined):
    stray = blob_file(service.settings.data_dir, "ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    assert examined()["orphans"].status == "warn"


@pytest.mark.parametrize(("revision", "status"), [("0001", "warn"), ("9999", "fail")])
def test_another_schema(service, examined, revision, status):
    execute(service, f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")  # noqa: S608 - our own words
    found = examined()
    assert found["schema"].status == status
    assert "trials" not in found


@on_both
def test_optuna_that_lacks_a_trial(service, examined):
    execute(service, "UPDATE trials SET state = 'RUNNING' WHERE number = 1")
    assert examined()["trials"].status == "fail"


@on_both
def test_a_lease_that_nobody_takes_back(service, examined):
    execute(
        service, "UPDATE rs_jobs SET state = 'leased', lease_token = 't', lease_expires_at = 1 WHERE kind = 'compress'"
    )
    assert examined()["leases"].status == "warn"


def test_a_row_that_refers_to_nothing(service, examined):
    with sqlite3.connect(service.settings.data_dir / "ranksearch.db") as connection:
        connection.execute("UPDATE rs_jobs SET model_id = 'mdl_none'")
    assert examined()["integrity"].status == "fail"


def test_a_token_that_others_can_read(service, examined):
    path = service.settings.data_dir / "token"
    path.touch(0o644)
    path.chmod(0o644)
    check = examined()["token file"]
    assert (check.status, check.mend) == ("fail", f"chmod 600 {path}")


def test_a_database_that_is_away_is_a_finding_without_its_password(service, examined):
    elsewhere = service.settings.model_copy(
        update={"database_url": "postgresql+psycopg://u:hush-hush@127.0.0.1:1/n?connect_timeout=2"}
    )
    checks = {check.name: check for check in examine(elsewhere).checks}
    assert checks["database"].status == "fail"
    assert "hush-hush" not in str(checks)


def test_the_command_prints_json_and_its_status_says_whether_something_failed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "service", "doctor", "--json", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    checks = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, checks["database"]) == (1, "fail")
