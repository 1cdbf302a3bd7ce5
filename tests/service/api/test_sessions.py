"""Signing in from a browser with a token."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from ranksearch.contracts.errors import AccessError
from service.access.secret import hashed
from service.api.attempts import SignInAttempts
from service.storage.clock import database_now
from service.storage.tables import AuditRow, SessionRow
from tests.service.access_stories import bearer, token_for
from tests.service.conftest import TOKEN, on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]

COOKIE = "ranksearch_session"


@pytest.fixture
def browser(service):
    """Without a token."""
    return TestClient(service.app)


def sign_in(browser, token, **options):
    return browser.post("/v1/session", json={"token": token}, **options)


@pytest.fixture
def signed_in(service, browser):
    """A browser of ada's, and its CSRF token."""
    answer = sign_in(browser, token_for(service, "ada", "vision", token="tok_ada"))  # noqa: S106 - an id
    assert answer.status_code == 201, answer.text
    return browser, answer.json()["csrf"]


def ends(answer):
    return answer.status_code, answer.json()["code"]


def sessions(service):
    with service.backend.reading() as session:
        return session.scalars(select(SessionRow)).all()


def test_a_session_may_do_what_its_token_may(service, signed_in):
    browser, _ = signed_in
    who = browser.get("/v1/whoami").json()
    assert (who["user"], who["project"], who["token"]) == ("ada", "vision", "tok_ada")
    assert ends(browser.get("/v1/users")) == (403, "token_scope")


def test_the_cookie_is_for_the_browser_alone(browser):
    given = sign_in(browser, TOKEN).headers["set-cookie"].lower()
    assert "httponly" in given
    assert "samesite=lax" in given
    assert "secure" not in given


def test_over_https_the_cookie_is_secure(service):
    given = sign_in(TestClient(service.app, base_url="https://testserver"), TOKEN).headers["set-cookie"].lower()
    assert "; secure" in given


def test_the_cookie_is_kept_as_its_hash(service, signed_in):
    browser, _ = signed_in
    assert [row.id for row in sessions(service)] == [hashed(browser.cookies[COOKIE])]


def test_the_csrf_token_is_told_again(signed_in):
    browser, csrf = signed_in
    assert browser.get("/v1/session").json()["csrf"] == csrf


@pytest.mark.parametrize(
    ("shown", "expected"),
    [(None, (403, "csrf_missing")), ("other", (403, "csrf_invalid")), ("", (403, "csrf_invalid"))],
)
def test_what_changes_something_must_show_it(signed_in, shown, expected):
    browser, _ = signed_in
    headers = {} if shown is None else {"x-csrf-token": shown}
    assert ends(browser.post("/v1/studies", json={}, headers=headers)) == expected
    assert ends(browser.delete("/v1/session", headers=headers)) == expected


def test_with_it_what_changes_something_is_done(signed_in):
    browser, csrf = signed_in
    answer = browser.post("/v1/tokens", json={"name": "mine"}, headers={"x-csrf-token": csrf})
    assert answer.status_code == 201


def test_a_csrf_token_of_another_session_is_none(service, signed_in):
    browser, _ = signed_in
    other = sign_in(TestClient(service.app), TOKEN).json()["csrf"]
    assert ends(browser.post("/v1/tokens", json={"name": "x"}, headers={"x-csrf-token": other})) == (
        403,
        "csrf_invalid",
    )


def test_a_request_with_a_token_needs_no_csrf_token(service, signed_in):
    browser, _ = signed_in
    answer = browser.post("/v1/tokens", json={"name": "x"}, headers=bearer(TOKEN))
    assert answer.status_code == 201


def test_signing_out_ends_the_session_at_once(service, signed_in):
    browser, csrf = signed_in
    cookie = browser.cookies[COOKIE]
    assert browser.delete("/v1/session", headers={"x-csrf-token": csrf}).status_code == 204
    assert COOKIE not in browser.cookies
    browser.cookies.set(COOKIE, cookie)
    assert ends(browser.get("/v1/whoami")) == (401, "session_expired")


def test_a_session_dies_with_its_token(service, signed_in):
    browser, _ = signed_in
    assert service.http.delete("/v1/tokens/tok_ada").status_code == 204
    assert browser.get("/v1/whoami").status_code == 401
    assert sessions(service) == []


def expire(service, **values):
    with service.backend.writing() as session:
        session.execute(update(SessionRow).values(**values))
    service.app.state.verifier.forget()


def test_a_session_that_was_not_used_ends(service, signed_in):
    browser, _ = signed_in
    expire(service, expires_at=database_now() - 1)
    assert ends(browser.get("/v1/whoami")) == (401, "session_expired")


@pytest.mark.parametrize(("age_days", "hours_left"), [(0, 12), (6.75, 6)])
def test_use_makes_it_last_until_it_is_a_week_old(service, signed_in, age_days, hours_left):
    browser, _ = signed_in
    expire(service, expires_at=database_now() + 60, created_at=database_now() - age_days * 86_400)
    browser.get("/v1/whoami")
    service.app.state.verifier.note_uses()
    with service.backend.reading() as session:
        left = session.scalars(select(SessionRow.expires_at - database_now())).one()
    assert left == pytest.approx(hours_left * 3600, abs=30)


def test_a_cookie_that_nobody_gave_opens_nothing(browser):
    browser.cookies.set(COOKIE, "rs_" + "0" * 49)
    assert ends(browser.get("/v1/models")) == (401, "session_expired")


def test_a_token_is_no_cookie_and_a_cookie_no_token(service, signed_in):
    browser, _ = signed_in
    assert ends(service.http.get("/v1/models", headers=bearer(browser.cookies[COOKIE]))) == (401, "token_invalid")
    browser.cookies.set(COOKIE, TOKEN)
    assert browser.get("/v1/models", headers={"cookie": f"{COOKIE}={TOKEN}"}).status_code == 401


def test_a_session_is_told_to_sessions_alone(service):
    assert ends(service.http.get("/v1/session")) == (401, "session_expired")


def test_a_wrong_token_signs_nobody_in_and_is_noted(service, browser):
    assert ends(sign_in(browser, "rs_wrong")) == (401, "token_invalid")
    assert COOKIE not in browser.cookies
    with service.backend.reading() as session:
        (event,) = session.scalars(select(AuditRow)).all()
    assert (event.action, event.user_id, event.detail["code"]) == ("session.refuse", None, "token_invalid")
    assert "rs_wrong" not in str(event.detail)


def test_signing_in_is_noted(service, signed_in):
    events = service.get("/v1/audit")["items"]
    assert [(one["action"], one["user"], one["subject"]) for one in events] == [("session.open", "ada", "tok_ada")]


def test_a_page_of_another_site_signs_nobody_in(browser):
    assert ends(sign_in(browser, TOKEN, headers={"sec-fetch-site": "cross-site"})) == (403, "csrf_invalid")
    form = browser.post("/v1/session", content=b'{"token": "x"}', headers={"content-type": "text/plain"})
    assert form.status_code == 422


def test_guessing_is_slowed_down(service, browser):
    answers = [sign_in(browser, f"rs_{at}") for at in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert ends(sign_in(browser, TOKEN)) == (429, "too_many_attempts")
    with service.backend.reading() as session:
        assert len(session.scalars(select(AuditRow)).all()) == 10


def test_signing_in_often_is_no_guessing(browser):
    assert {sign_in(browser, TOKEN).status_code for _ in range(15)} == {201}


def let_through(attempts, address, times=100):
    for at in range(times):
        try:
            attempts.begin(address)
        except AccessError:
            return at
    return times


def test_attempts_are_counted_by_client():
    attempts = SignInAttempts(most=3)
    assert [let_through(attempts, address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")] == [3, 3, 0]


def test_the_addresses_of_one_network_are_one_client():
    attempts = SignInAttempts(most=3)
    assert [let_through(attempts, address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [
        3,
        0,
        3,
    ]


def test_attempts_are_forgotten_after_their_time(monkeypatch):
    attempts, at = SignInAttempts(most=3, seconds=60), 1000.0
    monkeypatch.setattr("service.api.attempts.time.monotonic", lambda: at)
    assert let_through(attempts, "10.0.0.1") == 3
    at += 61
    assert let_through(attempts, "10.0.0.1") == 3
