"""Users, projects and tokens by the command line and the client, with the real service."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ranksearch import Client
from ranksearch.cli import app
from ranksearch.cli.exit_codes import ExitCode
from ranksearch.contracts.errors import AccessError, NotFoundError
from ranksearch.local import LocalDeployment


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("people") / "data", workers=0) as local:
        yield local


@pytest.fixture
def ranksearch(served):
    def run(*arguments, token=None):
        environment = {"RANKSEARCH_URL": served.url, "RANKSEARCH_TOKEN": token or served.token, "COLUMNS": "200"}
        return CliRunner().invoke(app, list(arguments), env=environment)

    return run


@pytest.fixture
def admin(served):
    with served.client() as client:
        yield client


def test_from_nothing_to_a_user_who_sees_what_is_theirs_alone(ranksearch, served, admin, documents):
    assert ranksearch("projects", "create", "vision", "--max-gib", "2").exit_code == 0
    made = ranksearch("users", "create", "anna", "--project", "vision", "--weight", "2", "--json")
    assert json.loads(made.stdout)["weight"] == 2
    done = ranksearch("tokens", "create", "laptop", "--user", "anna", "--project", "vision")
    secret = done.stdout.strip()
    assert secret.startswith("rs_")
    assert "\n" not in secret
    assert "anna in vision" in done.stderr
    told = json.loads(ranksearch("whoami", "--json", token=secret).stdout)
    assert (told["user"], told["project"], sorted(told["scopes"])) == ("anna", "vision", ["read", "submit"])
    with Client(served.url, secret) as anna:
        model = anna.models.upload(documents / "model.safetensors")
        assert [one.id for one in anna.models.list()] == [model.id]
        assert anna.whoami().user == "anna"
    (project,) = [one for one in admin.projects.list() if one.name == "vision"]
    assert (project.members, project.used_bytes) == (["anna"], model.blob.size)
    with Client(served.url, ranksearch("tokens", "create", "other").stdout.strip()) as local:
        assert list(local.models.list()) == []
        with pytest.raises(NotFoundError):
            local.models.get(model.id)


def test_a_revoked_token_and_a_disabled_user_open_nothing(ranksearch, admin, served):
    admin.users.create("ben")
    token = admin.tokens.create("t", user="ben")
    assert token.secret not in repr(token)
    assert ranksearch("whoami", token=token.secret).exit_code == 0
    assert "ben" in ranksearch("tokens", "list", "--user", "ben").stdout
    assert ranksearch("tokens", "revoke", token.id).exit_code == 0
    assert ranksearch("whoami", token=token.secret).exit_code == ExitCode.NO_ACCESS
    assert "revoked" in ranksearch("tokens", "list", "--user", "ben").stdout
    other = admin.tokens.create("u", user="ben").secret
    assert ranksearch("users", "disable", "ben").exit_code == 0
    assert ranksearch("whoami", token=other).exit_code == ExitCode.NO_ACCESS
    assert "disabled" in ranksearch("users", "list").stdout
    assert ranksearch("users", "enable", "ben").exit_code == 0
    assert ranksearch("whoami", token=other).exit_code == 0


def test_what_is_not_named_stays_as_it_is(admin):
    admin.users.create("carla", weight=3, max_parallel=5)
    assert (admin.users.change("carla", weight=4).max_parallel, admin.users.change("carla").weight) == (5, 4)
    assert admin.users.change("carla", max_parallel=None).max_parallel is None
    admin.projects.create("sound", max_bytes=1000)
    assert admin.projects.change("sound", members=["carla"]).max_bytes == 1000
    assert admin.projects.change("sound", max_bytes=None).members == ["carla"]


def test_nobody_gives_more_away_than_they_have(ranksearch, admin, served):
    admin.users.create("dora")
    secret = admin.tokens.create("t", user="dora", scopes=["read", "submit"]).secret
    done = ranksearch("tokens", "create", "x", "--scopes", "admin", token=secret)
    assert done.exit_code == ExitCode.NO_ACCESS
    assert "admin" in done.stderr
    with Client(served.url, secret) as dora, pytest.raises(AccessError):
        dora.users.create("eve")
    assert ranksearch("audit", token=secret).exit_code == ExitCode.NO_ACCESS


def test_the_audit_says_who_did_what(ranksearch, admin):
    admin.users.create("emil")
    assert "user.create" in ranksearch("audit").stdout
    events = json.loads(ranksearch("audit", "--action", "user.", "--last", "1", "--json").stdout)
    assert [(event["action"], event["user"]) for event in events] == [("user.create", "local")]


@pytest.mark.parametrize("scopes", ["everything", ""])
def test_a_scope_that_there_is_not_is_refused_in_words(ranksearch, scopes):
    done = ranksearch("tokens", "create", "x", "--scopes", scopes)
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "read, submit, work, admin" in done.stderr


def test_a_name_that_is_taken_is_refused(ranksearch, admin):
    admin.users.create("fred")
    done = ranksearch("users", "create", "fred")
    assert done.exit_code == ExitCode.FAILED
    assert isinstance(done.exception, SystemExit)
    assert "fred" in done.stderr
