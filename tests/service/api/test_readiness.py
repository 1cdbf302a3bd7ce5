from __future__ import annotations

import shutil
import sqlite3
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.storage.migrations import VERSION_TABLE


def parts(answer):
    told = answer.json()
    listed = told["parts"] if answer.status_code == 200 else told["extra"]["parts"]
    return {part["name"]: part["reason"] for part in listed if not part["ready"]}


def ask(service):
    return service.http.get("/readyz", headers={"authorization": ""})


def test_a_service_that_can_work_is_ready_and_says_so_to_anybody(service):
    answer = ask(service)
    assert answer.status_code == 200
    assert [(part["name"], part["ready"]) for part in answer.json()["parts"]] == [
        ("service", True),
        ("database", True),
        ("schema", True),
        ("blobs", True),
    ]


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_another_schema_is_not_ready(service, revision):
    with service.backend.writing() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'"))  # noqa: S608 - our own words
    answer = ask(service)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_not_ready")
    assert ("newer" if revision == "9999" else "older") in parts(answer)["schema"]


def test_a_blob_store_that_is_gone_is_not_ready(service):
    shutil.rmtree(service.settings.blobs_dir)
    assert list(parts(ask(service))) == ["blobs"]


def test_a_database_that_fails_is_not_ready_and_nothing_of_its_error_is_told(service, monkeypatch):
    def broken(_database):
        raise OperationalError("SELECT secret", {}, sqlite3.OperationalError("hidden"))

    monkeypatch.setattr("service.api.readiness.schema_revision", broken)
    answer = ask(service)
    assert parts(answer) == {"database": "it does not answer"}
    assert not {"secret", "hidden", str(service.settings.data_dir)} & set(answer.text.split())
    assert service.http.get("/healthz").status_code == 200


def test_a_database_that_hangs_is_asked_once_however_many_probes_come(start, monkeypatch):
    service = start(ready_seconds=0.05)
    asked, answer = [], threading.Event()

    def hanging(_database):
        asked.append(1)
        answer.wait(20)
        raise OperationalError("", {}, sqlite3.OperationalError())

    monkeypatch.setattr("service.api.readiness.schema_revision", hanging)
    try:
        for _ in range(3):
            assert parts(ask(service)) == {"database": "no answer within 0.05 s"}
        assert len(asked) == 1
    finally:
        answer.set()


def test_a_service_that_stops_is_not_ready(service):
    service.backend.bell.close()
    assert parts(ask(service)) == {"service": "it is shutting down"}
