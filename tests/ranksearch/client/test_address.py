import json
from pathlib import Path

import pytest

from ranksearch.client.address import resolve
from ranksearch.contracts.errors import AccessError, InputError, UnavailableError

LOCAL = "local-token"


@pytest.fixture
def local(tmp_path, monkeypatch):
    directory = tmp_path / ".ranksearch"
    directory.mkdir()
    (directory / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:9999", "pid": 1}))
    (directory / "token").write_text(f"{LOCAL}\n")
    monkeypatch.chdir(tmp_path)
    return directory


def test_what_is_given_comes_first(local, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_URL", "http://team")
    address = resolve("http://given", "given-token")
    assert (address.url, address.token) == ("http://given", "given-token")


def test_then_the_environment(local, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_URL", "https://team/")
    monkeypatch.setenv("RANKSEARCH_TOKEN", "team-token")
    address = resolve()
    assert (address.url, address.token) == ("https://team", "team-token")


def test_then_the_local_service(local):
    address = resolve()
    assert (address.url, address.token) == ("http://127.0.0.1:9999", LOCAL)


def test_the_local_directory_may_be_elsewhere(local, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("RANKSEARCH_HOME", str(local))
    assert resolve().token == LOCAL


def test_the_local_token_does_not_go_elsewhere(local):
    assert resolve("http://team").token is None


def test_the_teams_token_does_not_go_to_the_local_service(local, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_TOKEN", "team-token")
    assert resolve().token == LOCAL


def test_the_local_service_by_its_url_gets_its_token(local):
    assert resolve("http://127.0.0.1:9999/").token == LOCAL


def test_without_any_the_mend_is_to_start_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match="start one here with: ranksearch up"):
        resolve()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3"])
def test_a_broken_announcement_counts_as_none(local, content):
    (local / "service.json").write_text(content)
    with pytest.raises(UnavailableError):
        resolve()


@pytest.mark.parametrize("url", ["team", "ftp://team", "http://", "://", "http:///x"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InputError, match="not the URL of a service"):
        resolve(url)


@pytest.mark.parametrize("token", ["two words", "línea", "a\nb"])
def test_what_cannot_be_a_token_is_refused(token):
    with pytest.raises(AccessError):
        resolve("http://team", token)


def test_a_token_is_not_shown():
    assert "hush" not in repr(resolve("http://team", "hush"))


def test_a_local_service_that_is_away_is_mended_by_starting_it(local):
    assert resolve().mend == f"start the local service: ranksearch up --data-dir {Path('.ranksearch')}"


def test_requests_to_this_machine_ask_no_proxy():
    assert resolve("http://127.0.0.1:1").on_this_machine
