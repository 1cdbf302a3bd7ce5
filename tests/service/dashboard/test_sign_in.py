from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.service.dashboard.conftest import text_of


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/studies", "/studies"),
        ("/studies?state=paused", "/studies?state=paused"),
        ("", "/"),
        ("studies", "/"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("https://elsewhere.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/elsewhere.example", "/"),
    ],
)
def test_afterwards_it_goes_to_addresses_of_this_service_alone(stranger, given, kept):
    assert f'data-next="{kept}"' in stranger.get("/sign-in", params={"next": given}).text


def test_without_single_sign_on_there_is_no_button_for_it(stranger):
    assert "/v1/oidc/login" not in stranger.get("/sign-in").text


def test_with_it_there_is_and_it_comes_back_to_where_somebody_wanted_to_go(start):
    service = start(
        oidc_issuer="http://127.0.0.1:9/",
        oidc_client_id="ranksearch",
        oidc_client_secret="of-the-tests",  # noqa: S106 - it opens nothing
        oidc_redirect_url="http://127.0.0.1:8000/v1/oidc/callback",
    )
    page = TestClient(service.app).get("/sign-in", params={"next": "/studies?state=paused"})
    assert 'href="/v1/oidc/login?next=/studies%3Fstate%3Dpaused"' in page.text
    assert "organisation" in text_of(page)
