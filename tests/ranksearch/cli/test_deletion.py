import json

import httpx
import pytest
from typer.testing import CliRunner

from ranksearch.cli import app
from tests.ranksearch import wire

GONE = httpx.Response(204)
COMMANDS = [
    (("delete", "first"), f"/v1/studies/{wire.STUDY}", wire.STUDY),
    (("models", "delete", wire.MODEL), f"/v1/models/{wire.MODEL}", wire.MODEL),
    (("datasets", "delete", wire.DATASET), f"/v1/datasets/{wire.DATASET}", wire.DATASET),
]


@pytest.fixture(params=COMMANDS, ids=["study", "model", "data set"])
def command(request, service):
    words, path, deleted = request.param
    service.answers["DELETE", path] = GONE
    return words, path, deleted


def deletions(service):
    return [request.url.path for request in service.requests if request.method == "DELETE"]


def test_with_yes_nobody_is_asked(ranksearch, service, command):
    words, path, deleted = command
    done = ranksearch(*words, "--yes")
    assert (done.exit_code, deletions(service), done.stdout) == (0, [path], "")
    assert f"deleted {deleted}" in done.stderr


def test_who_agrees_has_it_deleted(service, command):
    words, path, deleted = command
    done = CliRunner().invoke(app, list(words), input="y\n")
    assert (done.exit_code, deletions(service)) == (0, [path])
    assert deleted in done.stderr


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_who_does_not_agree_or_is_not_there_keeps_it(service, command, answer):
    words, _, _ = command
    done = CliRunner().invoke(app, list(words), input=answer)
    assert (done.exit_code, deletions(service)) == (1, [])


def test_as_json_it_says_what_was_deleted(ranksearch, command):
    words, _, deleted = command
    assert json.loads(ranksearch(*words, "--yes", "--json").stdout) == {"deleted": deleted}


def test_what_is_in_use_is_refused_with_what_uses_it(ranksearch, service, command):
    words, path, _ = command
    detail = {"detail": "studies need this", "got": "needed by sty_1"}
    service.answers["DELETE", path] = ("in_use", 409, detail)
    done = ranksearch(*words, "--yes")
    assert (done.exit_code, "sty_1" in done.stderr) == (1, True)


def test_the_study_to_delete_is_named_before_it_is(service, command):
    words, _, deleted = command
    asked = CliRunner().invoke(app, list(words), input="n\n").stderr
    assert deleted in asked
