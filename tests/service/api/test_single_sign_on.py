"""Single sign-on against a provider that signs with keys of its own."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from sqlalchemy import select

from ranksearch.contracts.errors import InputError
from service.app import create_app
from service.settings import Settings
from service.storage.tables import AuditRow, SessionRow, TokenRow, UserRow
from tests.service.conftest import TOKEN
from tests.service.oidc_provider import CLIENT, SECRET, running_provider

CALLBACK = "http://localhost/v1/oidc/callback"


@pytest.fixture(scope="module")
def listening():
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(listening):
    listening.claims, listening.algorithm, listening.kid = {}, "RS256", "rsa"
    listening.described, listening.codes, listening.exchanges = {}, {}, []
    return listening


@pytest.fixture
def settings(provider):
    return {
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_redirect_url": CALLBACK,
    }


@pytest.fixture
def service(start, settings):
    """In which ada is a user of a project of hers."""
    running = start(**settings)
    assert running.http.post("/v1/projects", json={"name": "vision"}).status_code == 201
    made = running.http.post("/v1/users", json={"name": "ada", "subject": "1234", "projects": ["vision"]})
    assert (made.status_code, made.json()["subject"]) == (201, "1234")
    return running


@pytest.fixture
def browser(service):
    return browser_of(service)


def browser_of(service):
    return TestClient(service.app, base_url="http://localhost", follow_redirects=False)


def come_back(browser, provider, **changes):
    """Begin, sign in at the provider, come back."""
    begun = browser.get("/v1/oidc/login", params=changes.pop("login", {}))
    assert begun.status_code == 303, begun.text
    code, state = provider.authorize(begun.headers["location"])
    return browser.get("/v1/oidc/callback", params={"code": code, "state": state, **changes})


def refused(answer):
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "sign_in_refused"), answer.text
    assert "ranksearch_session" not in answer.cookies
    return problem["detail"]


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "rsa"), ("ES256", "ec")])
def test_whom_the_provider_signs_in_has_a_session(browser, provider, algorithm, kid):
    provider.algorithm, provider.kid = algorithm, kid
    answer = come_back(browser, provider)
    assert (answer.status_code, answer.headers["location"]) == (303, "/v1/session")
    who = browser.get("/v1/session").json()
    assert (who["user"], who["project"], who["scopes"]) == ("ada", "vision", ["read", "submit"])
    made = browser.post("/v1/tokens", json={"name": "mine"}, headers={"x-csrf-token": who["csrf"]})
    assert made.status_code == 201


def test_the_code_is_exchanged_with_the_verifier_of_the_challenge(browser, provider):
    come_back(browser, provider)
    (form,) = provider.exchanges
    assert (form["grant_type"], form["redirect_uri"]) == ("authorization_code", CALLBACK)
    assert len(form["code_verifier"]) >= 43


def test_two_sign_ins_share_nothing(browser, provider):
    asked = [parse_qs(urlsplit(browser.get("/v1/oidc/login").headers["location"]).query) for _ in range(2)]
    for word in ("state", "nonce", "code_challenge"):
        assert asked[0][word] != asked[1][word]


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "belongs to another sign-in"),
        ({"nonce": None}, "belongs to another sign-in"),
        ({"exp": int(time.time()) - 3600}, "does not hold"),
        ({"exp": None}, "does not hold"),
        ({"aud": "somebody-else"}, "does not hold"),
        ({"aud": None}, "does not hold"),
        ({"aud": [CLIENT, "somebody-else"]}, "made for another client"),
        ({"iss": "https://elsewhere.example"}, "does not hold"),
        ({"sub": None}, "does not hold"),
    ],
)
def test_a_claim_that_does_not_hold(browser, provider, claims, said):
    provider.claims = claims
    assert said in refused(come_back(browser, provider))


@pytest.mark.parametrize(("algorithm", "kid"), [("none", None), ("none", "rsa"), ("HS256", "rsa"), ("RS512", "rsa")])
def test_an_algorithm_that_is_not_taken(browser, provider, algorithm, kid):
    provider.algorithm, provider.kid = algorithm, kid
    assert "does not hold" in refused(come_back(browser, provider))


@pytest.mark.parametrize("kid", ["rsa", "unknown"])
def test_a_signature_of_another_key(browser, provider, monkeypatch, kid):
    forged = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sign = type(provider)._id_token

    def forging(self, nonce):
        claims = jwt.decode(sign(self, nonce), options={"verify_signature": False})
        return jwt.encode(claims, forged, algorithm="RS256", headers={"kid": kid})

    monkeypatch.setattr(type(provider), "_id_token", forging)
    assert "does not hold" in refused(come_back(browser, provider))


def test_a_state_of_another_sign_in(browser, provider):
    assert "another sign-in" in refused(come_back(browser, provider, state="another"))
    assert provider.exchanges == []


def test_a_code_without_a_state(browser, provider):
    assert "another sign-in" in refused(come_back(browser, provider, state=""))


def test_another_browser_than_the_one_that_began(service, browser, provider):
    code, state = provider.authorize(browser.get("/v1/oidc/login").headers["location"])
    other = browser_of(service).get("/v1/oidc/callback", params={"code": code, "state": state})
    assert "no sign-in under way" in refused(other)


def test_a_cookie_that_this_service_did_not_seal(service, browser, provider):
    code, state = provider.authorize(browser.get("/v1/oidc/login").headers["location"])
    sealed = jwt.decode(browser.cookies["ranksearch_oidc"], options={"verify_signature": False})
    forged = jwt.encode(sealed, b"k" * 32, algorithm="HS256")
    other = browser_of(service)
    other.cookies.set("ranksearch_oidc", forged)
    assert "no sign-in under way" in refused(other.get("/v1/oidc/callback", params={"code": code, "state": state}))


def test_a_sign_in_that_took_too_long(browser, provider, monkeypatch):
    monkeypatch.setattr("service.access.oidc._ATTEMPT_SECONDS", -1)
    assert "ten minutes" in refused(come_back(browser, provider))


def test_a_code_that_the_provider_does_not_take(browser, provider):
    assert "does not take the code" in refused(come_back(browser, provider, code="another"))


def test_a_code_is_of_use_once(browser, provider):
    code, state = provider.authorize(browser.get("/v1/oidc/login").headers["location"])
    cookie = browser.cookies["ranksearch_oidc"]
    first = browser.get("/v1/oidc/callback", params={"code": code, "state": state})
    browser.cookies.set("ranksearch_oidc", cookie)
    again = browser.get("/v1/oidc/callback", params={"code": code, "state": state})
    assert first.status_code == 303
    assert again.status_code == 401


def test_a_refusal_of_the_provider(browser, provider):
    assert "did not sign anybody in" in refused(come_back(browser, provider, error="access_denied"))


def test_somebody_who_is_no_user_is_refused_and_noted(service, browser, provider):
    provider.claims = {"sub": "5678", "preferred_username": "eve"}
    assert "nobody here is known" in refused(come_back(browser, provider))
    with service.backend.reading() as session:
        last = session.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
        assert (last.action, last.detail["code"]) == ("session.refuse", "sign_in_refused")
        assert session.scalars(select(TokenRow.name)).all() == ["bootstrap"]


def test_a_subject_of_another_issuer_is_somebody_else(service, browser, provider):
    with service.backend.writing() as session:
        session.scalars(select(UserRow).where(UserRow.name == "ada")).one().subject = "https://elsewhere.example 1234"
    refused(come_back(browser, provider))


def test_a_disabled_user_is_refused(service, browser, provider):
    service.http.patch("/v1/users/ada", json={"disabled": True})
    assert "disabled" in refused(come_back(browser, provider))


def test_whoever_the_provider_signs_in_becomes_a_user_where_that_is_wanted(start, settings, provider):
    service = start(**settings, oidc_auto_create=True)
    names = []
    for subject in ("1", "2", "1"):
        provider.claims = {"sub": subject, "preferred_username": "grace/hopper"}
        browser = browser_of(service)
        assert come_back(browser, provider).status_code == 303
        names.append(browser.get("/v1/session").json()["user"])
    assert names == ["grace-hopper", "grace-hopper-2", "grace-hopper"]
    assert browser.get("/v1/session").json()["project"] == "default"


def test_a_session_is_for_one_of_the_users_projects(service, browser, provider):
    service.http.post("/v1/projects", json={"name": "sound"})
    service.http.patch("/v1/users/ada", json={"projects": ["vision", "sound"]})
    for asked, given in (({}, "sound"), ({"project": "vision"}, "vision")):
        come_back(browser, provider, login=asked)
        assert browser.get("/v1/session").json()["project"] == given
    assert "no such project" in refused(come_back(browser_of(service), provider, login={"project": "default"}))


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "/\r\nx: y"])
def test_nobody_is_sent_elsewhere_afterwards(browser, provider, place):
    assert come_back(browser, provider, login={"next": place}).headers["location"] == "/v1/session"


def test_one_comes_back_to_where_one_wanted_to_go(browser, provider):
    assert come_back(browser, provider, login={"next": "/studies/x?tab=1"}).headers["location"] == "/studies/x?tab=1"


def test_signing_out_revokes_the_sessions_token(service, browser, provider):
    come_back(browser, provider)
    csrf = browser.get("/v1/session").json()["csrf"]
    assert browser.delete("/v1/session", headers={"x-csrf-token": csrf}).status_code == 204
    with service.backend.reading() as session:
        token = session.scalars(select(TokenRow).where(TokenRow.name == "session")).one()
        assert token.revoked_at is not None
        assert session.scalars(select(SessionRow)).all() == []


def test_a_provider_that_describes_another_one(browser, provider):
    provider.described = {"issuer": "https://elsewhere.example"}
    answer = browser.get("/v1/oidc/login")
    assert (answer.status_code, answer.json()["code"]) == (502, "service_answer_invalid")


def test_a_provider_that_is_away(start, settings):
    service = start(**{**settings, "oidc_issuer": "http://127.0.0.1:1"})
    answer = browser_of(service).get("/v1/oidc/login")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unreachable")


def test_without_a_provider_there_is_no_single_sign_on(start):
    answer = browser_of(start()).get("/v1/oidc/login")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_provider_is_named_in_whole(tmp_path):
    with pytest.raises(InputError, match="oidc_client_id, oidc_client_secret, oidc_redirect_url"):
        create_app(Settings(data_dir=tmp_path, token=TOKEN, oidc_issuer="https://login.example.org"))


def test_a_provider_is_asked_over_an_encrypted_connection(tmp_path):
    with pytest.raises(ValueError, match="https"):
        Settings(data_dir=tmp_path, token=TOKEN, oidc_issuer="http://login.example.org")
