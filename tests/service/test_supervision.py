"""systemd, whose units of ``Type=notify`` count as started once the service says that it is."""

from __future__ import annotations

import configparser
import secrets
import signal
import socket

import pytest

from service.supervision import tell_supervisor
from tests.docker.dockerfile import ROOT
from tests.service.api.conftest import launched  # noqa: F401 - a fixture


@pytest.fixture(params=["file", "abstract"])
def supervisor(request, tmp_path):
    """What listens, and the address that it gives."""
    address = str(tmp_path / "notify") if request.param == "file" else f"@ranksearch-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address.replace("@", "\0"))
        line.settimeout(60)
        yield line, address


def test_the_service_says_when_it_answers_and_when_it_stops(supervisor, launched, monkeypatch):  # noqa: F811 - the fixture
    line, address = supervisor
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service = launched()
    assert line.recv(100) == b"READY=1"
    assert (service.data_dir / "token").exists()
    assert service.http.get("/readyz").status_code == 200
    service.process.send_signal(signal.SIGTERM)
    assert line.recv(100) == b"STOPPING=1"
    assert service.process.wait(30) == 0


def test_nobody_who_asked_is_told_nothing():
    tell_supervisor("READY=1", {})
    tell_supervisor("READY=1", {"NOTIFY_SOCKET": ""})


def test_a_supervisor_that_has_gone_is_a_line_in_the_log(tmp_path, caplog):
    tell_supervisor("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert "the supervisor could not be told READY=1" in caplog.text


def test_the_unit_waits_for_it():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "docker" / "systemd" / "ranksearch-service.service")
    assert unit["Service"]["Type"] == "notify"
