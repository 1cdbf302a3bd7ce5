"""A browser without a browser: it sends what one would, and follows no redirection by itself."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from tests.service.conftest import TOKEN, Running

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HOSTILE = """<script>alert("x")</script>&'`{{ 7 * 7 }}"""


def text_of(answer) -> str:
    """What is read on a page, on one line."""
    body = re.sub(r"(?s)<(script|template|svg)\b.*?</\1>", " ", answer.text)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


@pytest.fixture
def stranger(service: Running) -> TestClient:
    """Who has the address of the service, and nothing else."""
    return TestClient(service.app, headers=HTML, follow_redirects=False)


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    """Signed in as an administrator."""
    assert stranger.post("/v1/session", json={"token": TOKEN}).status_code == 201
    return stranger
