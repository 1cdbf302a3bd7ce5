import json
import re

import httpx
import pytest
from typer.testing import CliRunner

from ranksearch.cli import app
from ranksearch.cli.exit_codes import ExitCode, exit_code
from ranksearch.contracts.errors import RankSearchError
from tests.ranksearch import wire

STUDY = ("GET", f"/v1/studies/{wire.STUDY}")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("study_not_found", 404, 4),
        ("token_missing", 401, 6),
        ("token_scope", 403, 6),
        ("invalid_request", 422, 5),
        ("budget_infeasible", 422, 5),
        ("upload_too_large", 413, 5),
        ("study_finished", 409, 1),
        ("internal_error", 500, 1),
        ("storage_full", 507, 1),
        ("service_busy", 503, 3),
        ("from_the_future", 418, 1),
    ],
)
def test_an_answers_code_decides(ranksearch, service, code, status, expected):
    service.answers[STUDY] = (code, status, {"detail": "so it is"})
    assert ranksearch("status", wire.STUDY).exit_code == expected


def test_an_unreachable_service_is_3(ranksearch, service):
    service.answers[STUDY] = httpx.ConnectError("refused")
    assert ranksearch("status", wire.STUDY).exit_code == 3


def test_no_service_at_all_is_3(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status"])
    assert (done.exit_code, "start one here with: ranksearch up" in done.stderr) == (3, True)


@pytest.mark.parametrize("words", [["status", "--nonsense"], ["frobnicate"], ["submit"], ["pull"]])
def test_wrong_usage_is_2(ranksearch, words):
    assert ranksearch(*words).exit_code == 2


def test_an_interrupt_is_130(ranksearch, service):
    service.answers[STUDY] = KeyboardInterrupt()
    assert ranksearch("status", wire.STUDY).exit_code == 130


def test_waiting_too_long_is_7():
    assert exit_code(RankSearchError.from_problem({"code": "wait_timeout"})) is ExitCode.TIMEOUT


def test_an_error_says_what_happened_got_expected_and_mend(ranksearch, service):
    members = {"detail": "it is wrong", "got": "1", "expected": "2", "mend": "say 2"}
    service.answers[STUDY] = ("invalid_request", 422, members)
    done = ranksearch("status", wire.STUDY)
    assert done.stderr == "error: it is wrong\n  got: 1\n  expected: 2\n  mend: say 2\n"


def test_an_error_writes_nothing_to_stdout(ranksearch, service):
    service.answers[STUDY] = ("invalid_request", 422, {"detail": "no"})
    assert ranksearch("status", wire.STUDY).stdout == ""


def test_with_json_an_error_is_its_problem_document_on_stderr(ranksearch, service):
    service.answers[STUDY] = ("study_not_found", 404, {"detail": "no"})
    done = ranksearch("status", wire.STUDY, "--json")
    assert (json.loads(done.stderr)["code"], done.stdout) == ("study_not_found", "")


def test_what_others_wrote_does_not_steer_the_terminal(ranksearch, service):
    service.answers[STUDY] = ("invalid_request", 422, {"detail": "red \x1b[31m text"})
    assert "\x1b" not in ranksearch("status", wire.STUDY).stderr


def test_help_documents_every_exit_status(ranksearch):
    text = " ".join(ranksearch("--help").stdout.split())
    assert all(re.search(rf"\b{int(code)} \w", text.partition("Exit status:")[2]) for code in ExitCode)


def test_version(ranksearch):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", ranksearch("--version").stdout)
