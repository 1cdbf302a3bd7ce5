from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/studies/sty_1", "/v1/workers", "/no/such/place", "/openapi.json", "/docs"],
)
def test_without_a_token_there_is_no_answer(service, path):
    answer = service.http.get(path, headers={"authorization": ""})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", "a-token-for-the-tests"])
def test_another_scheme_is_no_token(service, header):
    answer = service.http.get("/v1/models", headers={"authorization": header})
    assert answer.json()["code"] == "token_missing"


@pytest.mark.parametrize("token", ["wrong", "a-token-for-the-test", "ä"])
def test_a_wrong_token(service, token):
    answer = service.http.get("/v1/models", headers={"authorization": f"Bearer {token}".encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


def test_the_scheme_is_read_in_any_case(service):
    token = service.settings.token
    assert service.http.get("/v1/models", headers={"authorization": f"bearer {token}"}).status_code == 200


def test_health_is_open(service):
    assert service.http.get("/healthz", headers={"authorization": ""}).status_code == 200


def test_access_is_checked_before_the_body(service):
    answer = service.http.post("/v1/studies", content=b"{", headers={"authorization": ""})
    assert answer.status_code == 401


def test_a_refused_upload_leaves_nothing(service):
    answer = service.http.post("/v1/models?name=m", content=b"x" * 100_000, headers={"authorization": ""})
    assert answer.status_code == 401
    assert [path for path in service.settings.blobs_dir.rglob("*") if path.is_file()] == []
