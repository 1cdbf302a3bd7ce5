"""The page of tokens: whose, and what may be done with them."""

from __future__ import annotations

import re

import pytest

from ranksearch.contracts.access import TokenRequest
from tests.service.access_stories import bearer, token_for
from tests.service.dashboard.conftest import HOSTILE, text_of


def sign_in(client, token):
    assert client.post("/v1/session", json={"token": token}).status_code == 201


def test_administrators_see_everybodys_tokens_with_users_and_projects(service, browser):
    token_for(service, "ada", "vision")
    token_for(service, "bob", "sound", "work")
    text = text_of(browser.get("/tokens"))
    assert re.search(r"ada's tok_\w+ active ada vision read, submit never never Revoke", text)
    assert re.search(r"bob's tok_\w+ active bob sound work", text)
    assert "bootstrap tok_bootstrap, yours now active local default" in text
    for part in ("Users", "Projects", "ada vision 1 any", "sound bob"):
        assert part in text, part


def test_others_see_their_own_and_nobody_elses(service, stranger):
    token_for(service, "bob", "vision")
    sign_in(stranger, token_for(service, "ada", "vision"))
    text = text_of(stranger.get("/tokens"))
    assert "ada's" in text
    assert "bob" not in text
    assert "bootstrap" not in text
    assert "Users" not in text


def test_the_form_offers_what_the_own_token_allows_and_the_products_defaults(service, browser, stranger):
    page = browser.get("/tokens").text
    assert re.findall(r'name="scopes" value="(\w+)" checked', page) == TokenRequest.model_fields["scopes"].default
    assert (
        f'name="days" type="number" min="0" step="any" value="{TokenRequest.model_fields["expires_in_days"].default}"'
        in page
    )
    sign_in(stranger, token_for(service, "ada", "vision"))
    page = stranger.get("/tokens").text
    assert re.findall(r'name="scopes" value="(\w+)"', page) == ["read", "submit"]
    assert 'name="user"' not in page


def test_who_may_only_read_is_offered_no_change(service, stranger):
    sign_in(stranger, token_for(service, "rita", "vision", "read"))
    page = stranger.get("/tokens").text
    assert "data-new-token" not in page
    assert "hx-delete" not in page


def test_states_are_told(service, browser):
    old, gone = "tok_old", "tok_gone"
    token_for(service, "ada", "vision", lives=-1, token=old)
    token_for(service, "ada", "vision", token=gone)
    service.http.delete(f"/v1/tokens/{gone}")
    text = text_of(browser.get("/tokens"))
    assert "tok_old expired" in text
    assert "tok_gone revoked" in text


def test_names_are_shown_as_they_are(service, browser):
    service.http.post("/v1/tokens", json={"name": HOSTILE})
    text = browser.get("/tokens").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("asked", ["everybody=true", "user=local"])
def test_everybodys_tokens_are_for_administrators_alone(service, asked):
    answer = service.http.get(f"/v1/tokens?{asked}", headers=bearer(token_for(service, "ada", "vision")))
    assert (answer.status_code, answer.json()["code"]) == (403, "token_scope")


def test_everybodys_tokens_are_everybodys(service):
    for name, project in (("ada", "vision"), ("bob", "sound")):
        token_for(service, name, project, token=f"tok_{name}")
    told = {one["id"] for one in service.get("/v1/tokens?everybody=true")["items"]}
    assert told == {"tok_ada", "tok_bob", "tok_bootstrap"}
    assert {one["id"] for one in service.get("/v1/tokens")["items"]} == {"tok_bootstrap"}
