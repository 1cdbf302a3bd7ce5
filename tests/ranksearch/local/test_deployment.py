import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from ranksearch.client.address import resolve
from ranksearch.contracts.errors import AccessError, ConflictError, UnavailableError
from ranksearch.local import LocalDeployment, deployment, extras
from ranksearch.local.deployment import _Watch

ENDLESS = 120


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A service without workers, shared by the tests that do not break it."""
    with LocalDeployment(tmp_path_factory.mktemp("local") / "data", workers=0) as made:
        yield made


@pytest.fixture
def client(local):
    with local.client() as made:
        yield made


def until(happened, seconds=ENDLESS):
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def test_it_answers(client):
    assert list(client.studies.list()) == []


def test_a_wrong_token_is_refused(local):
    local_with_wrong_token = LocalDeployment(local.data_dir)
    local_with_wrong_token.url, local_with_wrong_token.token = local.url, "wrong-token-of-this-service"
    with local_with_wrong_token.client() as client, pytest.raises(AccessError):
        list(client.studies.list())


def test_the_token_is_on_no_command_line(local):
    assert local.token not in " ".join(psutil.Process(local.service.pid).cmdline())


def test_a_client_finds_it_by_its_directory(local, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_HOME", str(local.data_dir))
    address = resolve()
    assert (address.url, address.token) == (local.url, local.token)


def test_a_second_one_on_the_same_directory_is_refused(local):
    with pytest.raises(ConflictError, match=r"runs in .* already"):
        LocalDeployment(local.data_dir, workers=0).start()


def test_the_first_one_does_not_mind(local, client):
    with pytest.raises(ConflictError):
        LocalDeployment(local.data_dir, workers=0).start()
    assert list(client.models.list()) == []


def test_a_port_that_is_taken_is_named_with_the_logs_end(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=r"(?s)ended .*Address already in use"):
            LocalDeployment(tmp_path, workers=0, port=port).start()


def test_its_life(tmp_path):
    """One deployment through start, crash, new start and end: starting takes seconds."""
    local = LocalDeployment(tmp_path, workers=0)
    local.start()
    url, token = local.url, local.token
    with local.client() as client:
        assert list(client.studies.list()) == []
        local.service.kill()
        with pytest.raises(UnavailableError, match="the local service ended") as caught:
            local.supervise(print)
        assert caught.value.mend == f"look into {tmp_path / 'logs' / 'service.log'}"
        local.start_service()
        assert (local.url, local.token) == (url, token)
        assert list(client.studies.list()) == []
    pid = local.service.pid
    local.stop()
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "service.json").exists()


@pytest.fixture
def up(tmp_path):
    """``ranksearch up`` as a process of its own, and what it said."""
    words = [sys.executable, "-m", "ranksearch", "up", "--json", "--port", "0", "--data-dir", tmp_path / "data"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "RANKSEARCH_TOKEN": ""})
    lines = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
        assert lines[-1], "up ended early"
    told = json.loads("".join(lines))
    yield process, told
    process.kill()
    process.wait()
    process.stdout.close()
    assert until(lambda: not any(psutil.pid_exists(pid) for pid in [told["service_pid"], *told["worker_pids"]]))


def test_up_ends_on_sigterm_with_its_children(up):
    process, told = up
    process.send_signal(signal.SIGTERM)
    assert process.wait(ENDLESS) == 0
    assert not any(psutil.pid_exists(pid) for pid in [told["service_pid"], *told["worker_pids"]])


def test_children_do_not_outlive_a_killed_parent(up):
    process, _ = up
    process.kill()  # that none is left is asserted by the fixture


def test_a_crashed_worker_is_started_again_until_ctrl_c(up):
    process, told = up
    psutil.Process(told["worker_pids"][0]).kill()
    before = {told["service_pid"], *told["worker_pids"]}

    def others():
        return [child for child in psutil.Process(process.pid).children() if child.pid not in before]

    assert until(others)
    started = others()
    process.send_signal(signal.SIGINT)
    assert process.wait(ENDLESS) == 0
    assert not any(child.is_running() for child in started)


class Crashing:
    name, exit_code, log, running = "local-1", 1, "log", False

    def __init__(self):
        self.restarts = 0

    def restart(self):
        self.restarts += 1


def test_a_worker_that_keeps_crashing_is_started_ever_later(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(deployment.time, "monotonic", lambda: now[0])
    worker = Crashing()
    watch = _Watch(worker)
    for _ in range(1000):
        now[0] += 0.5
        watch.look(lambda words: None)
    assert 15 < worker.restarts < 25


def test_a_crash_says_where_the_log_is():
    said = []
    _Watch(Crashing()).look(said.append)
    assert said == ["local-1 ended (exit 1); starting it again in 1 s; its log: log"]


@pytest.mark.parametrize(("check", "extra"), [("check_service", "service"), ("check_worker", "worker")])
def test_a_missing_extra_is_named(monkeypatch, check, extra):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=rf"pip install 'ranksearch\[{extra}\]'") as caught:
        getattr(extras, check)()
    assert caught.value.code == "extra_missing"
