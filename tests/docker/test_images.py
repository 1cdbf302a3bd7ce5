"""No engine is needed: the images' very commands, in a clean virtual environment and a folder of their own.

What an engine would do to paths is done to the text of the commands; every other word of them stays.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ranksearch.client import Client
from tests.docker.dockerfile import ROOT, SERVICE, WORKER, Stage, stages
from tests.ports import free_port

pytestmark = pytest.mark.slow

_OF_IMAGES = ("/opt/ranksearch", "/wheels", "/source", "/data", "/cache")


@dataclass
class Image:
    """A folder that stands for an image's file system."""

    root: Path

    def here(self, text: str) -> str:
        """``text`` with the image's paths as paths below the folder."""
        places = "|".join(_OF_IMAGES)
        return re.sub(rf"(?<![\w.])({places})(?![\w.])", lambda match: f"{self.root}{match[1]}", text)

    def environment(self, stage: Stage) -> dict[str, str]:
        """What the stage's processes see: its own variables, and what pip needs to reach this machine's index."""
        of_pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTPS_"))}
        own = {name: self.here(value) for name, value in stage.environment.items()}
        own["PATH"] = own.get("PATH", "$PATH").replace("$PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
        return of_pip | {"HOME": str(self.root)} | own

    def build(self, stage: Stage) -> None:
        """Run a stage's ``COPY`` and ``RUN``, in its working directory."""
        work = Path(self.here(stage.the("WORKDIR").text))
        work.mkdir(parents=True)
        for step in stage.instructions:
            if step.name == "COPY":
                for source in step.sources:
                    _copy(ROOT / source, work / source)
            elif step.name == "RUN":
                command = ["/bin/sh", "-ec", self.here(step.text)]
                subprocess.run(command, cwd=work, env=self.environment(stage), check=True, stdout=subprocess.DEVNULL)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@dataclass
class Running:
    """The service as its image starts it."""

    image: Image
    stage: Stage
    process: subprocess.Popen[bytes]
    port: int
    environment: dict[str, str]
    built_at: float


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    image = Image(tmp_path_factory.mktemp("image"))
    first, last = stages(SERVICE)
    image.build(first)
    newest = max(path.stat().st_mtime for path in (image.root / "opt").rglob("*"))
    built_at = max(newest, time.time())
    (image.root / "data").mkdir(mode=0o700)
    port = free_port()
    environment = image.environment(last) | {"RANKSEARCH_SERVICE_PORT": str(port)}
    environment["PATH"] = f"{image.root}/opt/ranksearch/bin:/usr/bin:/bin"  # an image has no other Python
    command = ["/usr/bin/env", *last.the("ENTRYPOINT").exec_form]
    with (image.root / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=image.root / "data", env=environment, stderr=log)
    try:
        _wait_until_it_answers(process, port, image.root / "log")
        yield Running(image, last, process, port, environment, built_at)
    finally:
        process.kill()
        process.wait()


def _files_since(image: Image, moment: float) -> list[Path]:
    return [path for path in image.root.rglob("*") if path.is_file() and path.stat().st_mtime > moment]


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the service did not answer within a minute")


def test_the_service_image_answers_and_finds_itself_healthy(running):
    health = running.stage.the("HEALTHCHECK").exec_form
    asked = [word.replace(":8000/", f":{running.port}/") for word in health]
    assert asked != health
    subprocess.run(asked, env=running.environment, check=True)
    nobody = [word.replace(":8000/", ":9/") for word in health]
    assert subprocess.run(nobody, env=running.environment, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_the_service_image_has_no_torch_and_no_pip(running):
    for module in ("torch", "pip"):
        command = ["python", "-c", f"import {module}"]
        done = subprocess.run(command, env=running.environment, capture_output=True, text=True, check=False)
        assert f"No module named '{module}'" in done.stderr


def test_the_service_image_writes_below_its_data_only(running):
    """So its root file system can be read-only."""
    written = {path.relative_to(running.image.root).parts[0] for path in _files_since(running.image, running.built_at)}
    assert written == {"data", "log"}


def test_the_worker_image_s_command_serves_the_service_image_and_leaves_when_told_to(running):
    """In this environment, which has torch; its own would be several GB."""
    last = stages(WORKER)[-1]
    token = (running.image.root / "data" / "token").read_text().strip()
    url = f"http://127.0.0.1:{running.port}"
    (running.image.root / "cache").mkdir()
    command = [sys.executable, *last.the("ENTRYPOINT").exec_form[1:], "--name", "of-the-image", "--device", "cpu"]
    of_image = {name: value for name, value in running.image.environment(last).items() if name != "PATH"}
    environment = os.environ | of_image | {"RANKSEARCH_URL": url, "RANKSEARCH_TOKEN": token}
    worker = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        with Client(url, token) as client:
            deadline = time.monotonic() + 60
            while "of-the-image" not in [one.name for one in client.workers.list()]:
                assert worker.poll() is None, worker.stderr and worker.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        worker.send_signal(getattr(signal, last.the("STOPSIGNAL").text))
        assert worker.wait(20) == 0
        assert (running.image.root / "cache" / "ranksearch").is_dir()
    finally:
        worker.kill()
        worker.wait()


def test_the_service_image_ends_at_its_stop_signal(running):
    running.process.send_signal(getattr(signal, running.stage.the("STOPSIGNAL").text))
    assert running.process.wait(15) == 0
