"""What ``ranksearch doctor`` sees of a real service."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from ranksearch.cli import app
from ranksearch.client import Client, examination
from service.version import VERSION


@pytest.fixture
def examined(process):
    def look(token=process.token):
        with Client(str(process.http.base_url), token) as client:
            return {check.name: check for check in client.examine().checks}

    return look


def test_a_service_without_workers(examined):
    found = examined()
    assert {found[name].status for name in ("service", "versions", "clock", "readiness", "token")} == {"ok"}


def test_a_worker_and_what_confines_it(process, examined):
    sandbox = [{"name": "no network", "in_force": False, "reason": "no user namespaces"}]
    about = {"worker": "w9", "name": "box", "device": "cpu", "version": VERSION, "sandbox": sandbox}
    process.http.post("/v1/jobs/claim", json=about)
    found = examined()
    assert found["workers"].status == "ok"
    assert "box" in found["workers"].what
    assert (found["sandbox"].status, "no network: no user namespaces" in found["sandbox"].what) == ("warn", True)
    process.http.delete("/v1/workers/w9")


def test_a_wrong_token_is_a_finding(examined):
    found = examined("a-token-of-nobody-at-all")
    assert found["token"].status == "fail"
    assert found["service"].status == "ok"
    assert "workers" not in found


def test_another_version_is_a_warning(examined, monkeypatch):
    monkeypatch.setattr(examination.importlib.metadata, "version", lambda name: "9.9.9")
    assert examined()["versions"].status == "warn"


def test_a_clock_that_is_wrong_by_an_hour(examined, monkeypatch):
    class Clock(examination.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + timedelta(hours=1)

    monkeypatch.setattr(examination, "datetime", Clock)
    check = examined()["clock"]
    assert (check.status, "ahead" in check.what) == ("warn", True)


def run(*words):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


def test_the_command_shows_a_table_or_json(process):
    words = ["--url", process.http.base_url, "--token", process.token]
    shown = run(*words)
    assert (shown.exit_code, "readiness" in shown.stdout) == (0, True)
    checks = json.loads(run(*words, "--json").stdout)["checks"]
    assert checks[0]["name"] == "service"


def test_a_service_that_does_not_answer_is_status_1_with_what_to_do(monkeypatch, tmp_path):
    done = run("--url", "http://127.0.0.1:1", "--json")
    (check,) = json.loads(done.stdout)["checks"]
    assert (done.exit_code, check["status"]) == (1, "fail")
    assert "check the URL" in check["mend"]


def test_the_data_of_a_service_on_this_machine(process):
    done = run("--data-dir", process.data_dir, "--json")
    checks = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 0
    assert (checks["database"], checks["schema"], checks["token file"]) == ("ok", "ok", "ok")


def test_back_up_and_restore_by_the_command(process, tmp_path):
    backup = ["backup", tmp_path / "b", "--data-dir", process.data_dir]
    for words in (backup, ["restore", tmp_path / "b", "--data-dir", tmp_path / "d"]):
        assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    assert (tmp_path / "d" / "ranksearch.db").is_file()
