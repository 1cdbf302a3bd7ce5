"""Every route says which scope it needs, and a token without it is refused."""

from __future__ import annotations

import re

import pytest
from fastapi import APIRouter, FastAPI

from service.api.access import OPEN_OPERATIONS, OPEN_PATHS, check_routes, operations
from service.dashboard.pages import OPEN_BELOW, OPEN_PAGES
from tests.service.access_stories import bearer, token_for

ANYBODYS = {"/v1/whoami", "/v1/session"}
"""What whoever has a token may ask, whatever its scopes."""
PROGRAMS = ("/v1/", "/healthz", "/readyz", "/metrics")
"""What the description tells of; everything else is pages."""
ALLOWS = {
    "read": {"read"},
    "submit": {"read", "submit"},
    "work": {"work"},
    "admin": {"read", "submit", "work", "admin"},
}
"""What a token with one scope may do."""


def address(path):
    filled = path.replace("{sha256}", "0" * 64).replace("{number}", "0")
    return re.sub(r"\{\w+\}", "nothing", filled)


def is_open(one):
    opened = one.path in OPEN_PATHS | OPEN_PAGES or one.path.startswith(OPEN_BELOW)
    return opened or (one.method, one.path) in OPEN_OPERATIONS


def guarded(service):
    return [one for one in operations(service.app) if not is_open(one)]


def test_there_are_operations_to_check(service):
    described = service.http.get("/openapi.json").json()["paths"]
    told = {(method.upper(), path) for path, methods in described.items() for method in methods}
    for_programs = {(one.method, one.path) for one in operations(service.app) if one.path.startswith(PROGRAMS)}
    assert for_programs == told
    assert len(guarded(service)) > 25


def test_every_operation_but_the_open_ones_names_a_scope(service):
    for one in guarded(service):
        assert one.scopes or (one.scopes == () and one.path in ANYBODYS), one


def test_an_application_with_a_route_that_names_none_is_refused():
    app, router = FastAPI(), APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> None: ...

    app.include_router(router)
    with pytest.raises(RuntimeError, match="/v1/forgotten"):
        check_routes(app)


@pytest.mark.parametrize("scope", list(ALLOWS))
def test_a_token_is_let_in_where_its_scope_is_named_and_nowhere_else(service, scope):
    headers = bearer(token_for(service, "ada", "vision", scope))
    for one in guarded(service):
        answer = service.http.request(one.method, address(one.path), headers=headers, json={})
        may = not one.scopes or bool(set(one.scopes) & ALLOWS[scope])
        assert (answer.status_code != 403) is may, f"{one} {answer.text}"


def test_a_refusal_says_what_was_got_and_expected(service):
    answer = service.http.post("/v1/studies", json={}, headers=bearer(token_for(service, "ada", "vision", "read")))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "token_scope")
    assert (problem["got"], problem["expected"]) == ("scopes read", "scope submit")
    assert "ranksearch tokens create" in problem["mend"]
