"""What is true of every page."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from service.dashboard.headers import CONTENT_SECURITY_POLICY
from service.dashboard.pages import OPEN_BELOW, OPEN_PAGES
from tests.browser.pictures import PICTURES
from tests.service.access_stories import bearer, token_for
from tests.service.dashboard.conftest import HOSTILE, HTML

PRIVATE = "nobody-should-read-this"


@pytest.fixture
def pages(service):
    """Their addresses; those of single things with an id that nothing has."""
    found = []
    for route in iter_route_contexts(service.app.routes):
        original = route.original_route
        if isinstance(original, APIRoute) and original.endpoint.__module__.startswith("service.dashboard."):
            found.append(re.sub(r"\{\w+\}", "nothing", route.path))
    return sorted(path for path in found if not path.startswith(OPEN_BELOW))


def test_every_page_has_its_picture_taken(service):
    paths = set()
    for route in iter_route_contexts(service.app.routes):
        original = route.original_route
        if isinstance(original, APIRoute) and original.endpoint.__module__.startswith("service.dashboard."):
            paths.add(route.path)
    parts = {"/", "/studies/{study}/summary", "/studies/{study}/best"}  # what leads to a page, and is a part of one
    assert {path for path in paths if not path.startswith(OPEN_BELOW)} - parts == set(PICTURES) - {"what is not there"}


def test_there_are_pages_to_check(pages):
    assert {"/", "/sign-in", "/studies", "/studies/nothing", "/workers"} <= set(pages)


def test_without_a_session_every_page_but_the_open_ones_leads_to_the_sign_in_page(pages, stranger):
    for path in pages:
        answer = stranger.get(path)
        if path in OPEN_PAGES:
            assert answer.status_code == 200, path
        else:
            assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in"), path


def test_a_program_without_a_token_is_refused_as_before(pages, service):
    program = TestClient(service.app, follow_redirects=False)
    for path in set(pages) - OPEN_PAGES:
        answer = program.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing"), path


def test_every_page_has_the_policy_and_is_kept_by_nobody(pages, browser):
    for path in [*pages, "/nothing-here", "/studies?cursor=broken"]:
        headers = browser.get(path).headers
        if "location" not in headers:
            assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
            assert headers["content-type"] == "text/html; charset=utf-8", path
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["cache-control"] == "no-store", path


def test_no_page_has_scripts_or_styles_within_itself(pages, browser):
    for path in pages:
        text = browser.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text), path


def test_no_page_names_another_host(pages, browser):
    for path in pages:
        addresses = re.findall(
            r"""(?:src|href|action|hx-\w+)="([^"]*)""", browser.get(path, follow_redirects=True).text
        )
        assert addresses, path
        assert [one for one in addresses if re.match(r"(\w+:)?//", one)] == [], path


def test_a_token_that_may_not_read_sees_no_page(pages, service, stranger):
    headers = bearer(token_for(service, "gpu", "vision", "work"))
    for path in set(pages) - OPEN_PAGES - {"/"}:
        answer = stranger.get(path, headers=headers)
        assert answer.status_code == 403, path
        assert "this token does not allow that" in answer.text


def test_what_people_call_things_is_shown_as_it_is(service, browser):
    study = service.submit(name=HOSTILE)["id"]
    service.agent(HOSTILE).claim()
    for path in ("/studies", f"/studies/{study}", "/workers"):
        text = browser.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&amp;&#39;`{{ 7 * 7 }}" in text, path


def test_other_projects_are_seen_by_nobody_but_administrators(service, stranger):
    study = service.submit(name=PRIVATE)["id"]
    assert stranger.post("/v1/session", json={"token": token_for(service, "eve", "other")}).status_code == 201
    assert PRIVATE not in stranger.get("/studies").text
    assert stranger.get(f"/studies/{study}").status_code == 404
    service.agent("w1").must_claim()
    assert PRIVATE not in stranger.get("/workers").text


def test_the_header_says_who_is_signed_in_and_leads_on(service, stranger):
    stranger.post("/v1/session", json={"token": token_for(service, "ada", "vision")})
    text = stranger.get("/workers").text
    assert "ada, project vision" in text
    assert re.search(r'<a href="/workers" aria-current="page">', text)
    assert re.search(r'<a href="/studies">', text)


def test_a_page_shows_scripts_the_token_of_its_own_session(browser):
    csrf = browser.get("/v1/session", headers={"accept": "application/json"}).json()["csrf"]
    assert f'<meta name="csrf-token" content="{csrf}">' in browser.get("/studies").text
    assert browser.post("/v1/workers/none/drain", headers=HTML).status_code == 403
    assert browser.post("/v1/workers/none/drain", headers={"x-csrf-token": csrf}).status_code == 404
