"""What a browser is shown when something is wrong."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tests.service.conftest import TOKEN
from tests.service.dashboard.conftest import HOSTILE, text_of

PART = {"hx-request": "true", "accept": "*/*", "hx-current-url": "http://testserver/studies?state=paused"}


@pytest.mark.parametrize(
    ("asked", "signs_in_at"),
    [
        ("/", "/sign-in"),
        ("/studies", "/sign-in?next=/studies"),
        ("/studies?state=paused&cursor=x", "/sign-in?next=/studies%3Fstate%3Dpaused%26cursor%3Dx"),
        ("/v1/studies/none/artifacts/a", "/sign-in?next=/v1/studies/none/artifacts/a"),
        ("/nothing", "/sign-in?next=/nothing"),
    ],
)
def test_who_is_not_signed_in_signs_in_and_comes_back(stranger, asked, signs_in_at):
    answer = stranger.get(asked)
    assert (answer.status_code, answer.headers["location"]) == (303, signs_in_at)
    assert answer.headers["cache-control"] == "no-store"


def test_a_session_that_has_ended_signs_in_again(browser):
    browser.cookies.set("ranksearch_session", "rs_" + "0" * 49)
    assert browser.get("/studies").headers["location"] == "/sign-in?next=/studies"


def test_a_part_of_a_page_leads_the_whole_page_to_sign_in(stranger):
    answer = stranger.get("/studies", headers=PART)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in?next=/studies%3Fstate%3Dpaused"
    assert answer.text == ""


def test_a_part_that_came_from_elsewhere_still_leads_to_a_page_of_this_service(stranger):
    answer = stranger.get("/studies", headers={**PART, "hx-current-url": "http://elsewhere.example/x"})
    assert answer.headers["hx-redirect"] == "/sign-in?next=/x"


@pytest.mark.parametrize("path", ["/nothing-here", "/studies/sty_none"])
def test_what_is_not_there(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in text_of(answer)
    assert "All studies" in text_of(answer)


def test_a_program_gets_the_problem_document(service):
    answer = service.http.get("/nothing-here")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_a_part_gets_the_problem_alone_with_its_status(browser):
    answer = browser.get("/studies/sty_none", headers=PART)
    assert answer.status_code == 404
    assert answer.text.strip().startswith("<section")
    assert "there is no such study" in text_of(answer)


def test_what_was_got_is_escaped(browser):
    answer = browser.get("/studies", params={"cursor": HOSTILE})
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert HOSTILE in text_of(answer)


def test_a_database_that_is_away_is_told_without_asking_it(service, browser, monkeypatch):
    def away(*_arguments, **_options):
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    service.app.state.verifier.forget()
    monkeypatch.setattr(service.backend.database, "reading", away)
    answer = browser.get("/studies")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "The service cannot answer now" in text_of(answer)
    assert '<a class="button button--main" href="/studies">Try again</a>' in answer.text


def test_an_error_that_nobody_foresaw_names_its_request_and_nothing_else(service, browser, monkeypatch):
    def broken(*_arguments):
        raise ValueError("a-secret-of-the-machine")

    monkeypatch.setattr("service.dashboard.studies.answers.studies", broken)
    answer = browser.get("/studies")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in text_of(answer)
    assert "a-secret-of-the-machine" not in answer.text


def test_an_event_stream_goes_through_as_it_is(service, browser):
    study = service.submit()["id"]
    service.agent().work()
    answer = browser.get(f"/v1/studies/{study}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "event: study" in answer.text


def test_who_is_refused_signing_in_reads_why_and_is_not_sent_round_in_circles(stranger):
    answer = stranger.post("/v1/session", json={"token": f"{TOKEN}-not"}, headers=PART)
    assert answer.status_code == 401
    assert "hx-redirect" not in answer.headers
    assert "<section" in answer.text
