from __future__ import annotations

import sqlite3

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from ranksearch.contracts.errors import RankSearchError
from ranksearch.contracts.loglines import TextLines
from ranksearch.contracts.resources import Problem

JSON = {"content-type": "application/json"}


def post(service, content, headers=JSON):
    return service.http.post("/v1/studies", content=content, headers=headers)


def is_problem(answer):
    return answer.headers["content-type"] == "application/problem+json" and Problem.model_validate(answer.json())


def test_an_unknown_address(service):
    answer = service.http.get("/v1/nothing")
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_unknown_method(service):
    answer = service.http.delete("/v1/models")
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


def test_malformed_json(service):
    answer = post(service, b'{"model": }')
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "not JSON" in answer.json()["detail"]


def test_no_body(service):
    assert "no body" in post(service, b"").json()["detail"]


def test_a_body_of_another_type(service):
    answer = post(service, b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["mend"]


def test_an_unknown_member_is_named(service):
    answer = service.http.post("/v1/studies", json=service.request(n_trails=5))
    assert (answer.json()["code"], answer.json()["got"]) == ("unknown_field", "n_trails")


def test_members_that_do_not_go_together_are_told_in_the_rules_own_words(service):
    told = service.http.post("/v1/studies", json=service.request(objectives=["macs"])).json()
    assert told["code"] == "invalid_request"
    assert told["detail"].startswith("objectives ['macs'] needs max_drop")


def test_a_member_that_may_be_of_several_kinds_is_named_once_in_the_words_that_speak_of_all(service):
    told = service.http.post("/v1/studies", json=service.request(constraints={"macs": "a third"})).json()
    assert told["got"] == "a third"
    assert told["detail"] == (
        "constraints.macs: 'a third' is neither a number nor a percentage of the original such as \"33%\""
    )
    assert {each["at"] for each in told["extra"]["errors"]} == {"constraints.macs"}


def test_a_missing_member_is_named(service):
    body = service.request()
    del body["validation"]
    answer = service.http.post("/v1/studies", json=body)
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["detail"].startswith("validation")


@pytest.mark.parametrize(
    "change",
    [
        {"n_trials": 0},
        {"constraints": {}},
        {"constraints": {"macs": "101%"}},
        {"constraints": {"macs": -1}},
        {"methods": ["magic"]},
        {"metric": "charm"},
        {"objectives": ["proxy", "proxy"]},
        {"objectives": ["macs"]},
        {"max_drop": 0.01},
        {"seed": -1},
    ],
)
def test_a_value_out_of_range(service, change):
    answer = service.http.post("/v1/studies", json=service.request(**change))
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_body_larger_than_json_may_be(start):
    answer = post(start(max_json_bytes=1000), b'"' + b"x" * 2000 + b'"')
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_a_body_larger_than_json_may_be_that_announces_nothing(start):
    answer = post(start(max_json_bytes=1000), (b"x" * 100 for _ in range(20)))
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_a_path_parameter_that_is_none(service):
    answer = service.http.get("/v1/blobs/xyz")
    assert is_problem(answer)
    assert answer.status_code == 422


def test_a_name_that_is_too_long(service):
    answer = service.http.post("/v1/models", params={"name": "x" * 201}, content=b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/mdl_none", "model_not_found"),
        ("/v1/datasets/dts_none", "dataset_not_found"),
        ("/v1/studies/sty_none", "study_not_found"),
        ("/v1/studies/sty_none/trials", "study_not_found"),
        ("/v1/studies/sty_none/trials/0", "study_not_found"),
        ("/v1/studies/sty_none/best", "study_not_found"),
        ("/v1/studies/sty_none/artifacts", "study_not_found"),
        ("/v1/studies/sty_none/artifacts/x", "study_not_found"),
        ("/v1/studies/sty_none/events", "study_not_found"),
        (f"/v1/blobs/{'0' * 64}", "blob_not_found"),
    ],
)
def test_what_does_not_exist(service, path, code):
    answer = service.http.get(path)
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [("trials/0", "trial_not_found"), ("best", "best_not_found"), ("artifacts/x", "artifact_not_found")],
)
def test_what_a_new_study_does_not_have(service, path, code):
    answer = service.http.get(f"/v1/studies/{service.submit()['id']}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, code)


def broken(problem):
    def called(*_args, **_kwargs):
        raise problem

    return called


def test_an_unexpected_error_keeps_its_internals_and_names_its_request(service, monkeypatch, caplog):
    caplog.handler.setFormatter(TextLines())
    monkeypatch.setattr("service.scheduling.answers.models", broken(RuntimeError("a secret")))
    answer = service.http.get("/v1/models")
    assert is_problem(answer)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "a secret" not in answer.text
    assert answer.json()["extra"]["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [("database or disk is full", 507, "storage_full"), ("database is locked", 503, "service_busy")],
)
def test_a_database_in_trouble(service, monkeypatch, reason, status, code):
    problem = OperationalError("SELECT", {}, sqlite3.OperationalError(reason))
    monkeypatch.setattr("service.scheduling.answers.models", broken(problem))
    answer = service.http.get("/v1/models")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_cursor_that_is_none_of_ours(service):
    assert service.http.get("/v1/models?cursor=abc").json()["code"] == "invalid_request"


def test_the_client_reads_a_problem_back_as_its_error(service):
    problem = service.http.get("/v1/models/mdl_none").json()
    assert RankSearchError.from_problem(problem).code == "model_not_found"


def test_the_description_documents_problems(service):
    described = service.http.get("/openapi.json").json()
    assert "Problem" in described["components"]["schemas"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["4XX"]["content"], path


def test_the_description_can_be_made_without_starting(service):
    assert isinstance(TestClient(service.app).app.openapi()["paths"], dict)


@pytest.mark.parametrize("path", ["/v1/models/%00", "/v1/studies/a%00b/trials", "/v1/studies/%00/artifacts/%00"])
def test_an_id_that_no_database_can_look_up(service, path):
    answer = service.http.get(path)
    assert is_problem(answer)
    assert answer.status_code in (404, 422)


def test_text_that_the_database_cannot_take_is_the_senders_mistake(service):
    about = {"worker": "w\0", "name": "w", "device": "cpu", "version": "0"}
    answer = service.http.post("/v1/jobs/claim", json=about)
    assert answer.status_code < 500
    assert answer.status_code in (200, 204) or is_problem(answer)


def test_half_a_surrogate_pair_is_told_back_as_an_escape(service):
    answer = post(service, b'{"model": "m", "\\ud800": 1}')
    assert is_problem(answer)
    assert answer.status_code == 422


@pytest.mark.parametrize("name", ["a\0b", "a\r\nb", "\x1b[2J", "\x7f"])
def test_a_name_of_control_characters(service, name):
    answer = service.http.post("/v1/models", params={"name": name}, content=b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
