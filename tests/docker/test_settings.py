"""Every variable, option and command that the files in ``docker/`` name is one that the programs know."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ranksearch.cli.app import app
from ranksearch.client import address
from tests.docker.dockerfile import ROOT, SERVICE, WORKER, stages

FOLDER = ROOT / "docker"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
UNITS = sorted(FOLDER.glob("systemd/*.service"))
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def helped() -> dict[str, str]:
    """What ``python -m service --help`` and ``python -m worker --help`` say."""
    return {
        name: subprocess.run(
            [sys.executable, "-m", name, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for name in ("service", "worker")
    }


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def commands(path: Path) -> list[list[str]]:
    """The commands in a Markdown file's shell blocks, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_every_variable_exists(helped):
    of_compose = set(re.findall(r"^#?(RANKSEARCH_\w+)=", (FOLDER / ".env.example").read_text(), flags=re.MULTILINE))
    of_clients = {address.URL_VARIABLE, address.TOKEN_VARIABLE, address.HOME_VARIABLE}
    known = set(re.findall(r"RANKSEARCH_SERVICE_[A-Z_]+", helped["service"])) | of_compose | of_clients
    known.add("RANKSEARCH_SERVICE_TOKEN")  # a secret has no option, and --help tells of options
    for path in FILES:
        named = set(re.findall(r"\bRANKSEARCH_[A-Z_]+[A-Z]\b", path.read_text()))
        assert named <= known, (path.name, named - known)


def test_the_settings_know_the_token_s_variable():
    table = (ROOT / "docs" / "operations.md").read_text()
    assert "`RANKSEARCH_SERVICE_TOKEN`" in table


def test_the_options_of_containers_exist(helped):
    kubernetes = [
        container
        for path in (FOLDER / "kubernetes" / "base").glob("*.yaml")
        for one in yaml.safe_load_all(path.read_text())
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]
    given = {
        name: options(" ".join(COMPOSE[name].get("command", []))) for name in ("service", "worker-cpu", "worker-gpu")
    }
    given |= {container["name"]: options(" ".join(container.get("args", []))) for container in kubernetes}
    assert set(given) == {"service", "worker", "worker-cpu", "worker-gpu"}
    for name, some in given.items():
        assert some <= options(helped[name.partition("-")[0]]), name
    assert given["worker"]
    assert given["worker-cpu"] == given["worker-gpu"] != set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_options_of_a_unit_exist(path, helped):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(path.read_text())
    words = unit["Service"]["ExecStart"].split()
    assert words[:2] == ["/opt/ranksearch/bin/python", "-m"]
    assert options(unit["Service"]["ExecStart"]) <= options(helped[words[2]])
    assert unit["Service"]["User"] == "ranksearch"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(path, tmp_path):
    (tmp_path / path.name).write_text(path.read_text().replace("/opt/ranksearch/bin/python", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / path.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readme_s_commands_exist():
    root = typer.main.get_command(app)
    seen = set()
    for words in commands(FOLDER / "README.md"):
        if words[0].rpartition("/")[2] == "ranksearch":
            seen.add(_check_command(root, words[1:]))
    assert {"worker", "submit"} <= seen


def _check_command(root: Any, words: list[str]) -> str:
    """Follow the words down the tree of commands, and look their options up; the first word."""
    command, left = root, list(words)
    while (below := getattr(command, "commands", None)) is not None:
        if command.invoke_without_command and (not left or left[0].startswith("-")):
            break
        assert left, words
        assert left[0] in below, words
        command = below[left.pop(0)]
    if words[0] != "worker":  # hands its options on
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert options(" ".join(words)) <= known | {"--help"}, words
    return words[0]


def test_the_readme_s_options_of_workers_exist(helped):
    given = set()
    for words in commands(FOLDER / "README.md"):
        for name in ("worker", "ranksearch-worker:cuda", "ranksearch-worker:cpu"):
            if name in words and "build" not in words:
                given |= options(" ".join(words[words.index(name) :]))
    assert {"--url", "--token-file"} <= given <= options(helped["worker"])


def test_the_readme_s_files_exist():
    text = (FOLDER / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (FOLDER / link).exists(), link
    for path in re.findall(r"docker/[\w./-]*\w", text):
        if not path.startswith(("docker/.env", "docker/secrets")):
            assert (ROOT / path).exists(), path


def test_the_image_listens_where_its_health_is_asked_for():
    last = stages(SERVICE)[-1]
    port = last.environment["RANKSEARCH_SERVICE_PORT"]
    assert port == last.the("EXPOSE").text
    assert f":{port}/healthz" in last.the("HEALTHCHECK").text
    assert stages(WORKER)[-1].environment["XDG_CACHE_HOME"] == stages(WORKER)[-1].the("VOLUME").text
