from pathlib import Path

import pytest

from ranksearch.contracts.errors import AccessError, InputError
from worker.options import labels_of, parse, token_of


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("RANKSEARCH_TOKEN", raising=False)


def test_defaults():
    options = parse([])
    assert (options.devices, options.cache_size, options.factor_cache_size) == ("auto", 20 << 30, 5 << 30)
    assert not options.exit_when_drained


def test_labels():
    assert labels_of(parse(["--label", "site=berlin", "--label", "rack = 4=b"])) == {"site": "berlin", "rack": "4=b"}


@pytest.mark.parametrize("label", ["berlin", "=berlin", " =x"])
def test_what_is_no_label(label):
    with pytest.raises(InputError, match="NAME=VALUE"):
        labels_of(parse(["--label", label]))


def test_the_token_of_the_environment(monkeypatch):
    monkeypatch.setenv("RANKSEARCH_TOKEN", "from-the-environment")
    assert token_of(parse([])) == "from-the-environment"


def test_a_tokens_file_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSEARCH_TOKEN", "from-the-environment")
    Path(tmp_path, "token").write_text("from-a-file\n")
    assert token_of(parse(["--token-file", str(tmp_path / "token")])) == "from-a-file"


def test_no_token_is_none():
    assert token_of(parse([])) is None


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_tokens_file_that_holds_none(tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AccessError):
        token_of(parse(["--token-file", str(path)]))


def test_the_help_warns_of_a_token_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "sees it in `ps`" in shown
    assert "RANKSEARCH_TOKEN" in shown


def test_a_size_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--cache-size", "large"])
    assert ended.value.code == 2
    assert "20GiB" in capsys.readouterr().err
