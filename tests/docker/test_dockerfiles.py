from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.dockerfile import ROOT, SERVICE, WORKER, stages

both = pytest.mark.parametrize("path", [SERVICE, WORKER], ids=lambda path: path.name)


def of_every_package(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if (path / "__init__.py").exists() and path.name != "tests"}


@both
def test_hadolint_finds_nothing(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@both
def test_every_source_is_let_through_to_the_engine(path):
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for stage in stages(path):
        for copy in stage.all("COPY"):
            for source in copy.sources:
                assert (ROOT / source).exists(), source
                assert any(source == one or one.startswith(source) for one in let_through), source


@both
def test_the_wheel_has_all_packages(path):
    copied = {source for copy in stages(path)[0].all("COPY") for source in copy.sources}
    assert of_every_package(ROOT) <= copied


@both
def test_the_last_stage_runs_as_nobody_in_particular_and_builds_nothing(path):
    last = stages(path)[-1]
    assert last.the("USER").text == "10001:10001"
    assert [copy.sources for copy in last.all("COPY")] == [[]]
    assert "pip" not in " ".join(run.text for run in last.all("RUN"))
    assert last.the("STOPSIGNAL").text == "SIGTERM"


def test_only_the_service_answers_the_question_for_its_health():
    (health,) = stages(SERVICE)[-1].all("HEALTHCHECK")
    assert "/healthz" in health.text
    assert stages(WORKER)[-1].all("HEALTHCHECK") == []


def test_torch_and_its_companion_come_from_the_index_that_was_asked_for():
    script, project = ROOT / "docker" / "torch_requirements.py", ROOT / "pyproject.toml"
    done = subprocess.run([sys.executable, script, project], capture_output=True, text=True, check=True)
    assert [line.split(">")[0] for line in done.stdout.split()] == ["torch", "torchvision"]
    install = next(run.text for run in stages(WORKER)[0].all("RUN") if "torch.txt" in run.text)
    assert '${TORCH_INDEX:+--index-url "$TORCH_INDEX"}' in install


def test_an_extra_that_lost_torch_is_noticed(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project.optional-dependencies]\nworker = ["torchaudio>=2", "numpy"]\n')
    script = ROOT / "docker" / "torch_requirements.py"
    command = [sys.executable, script, tmp_path / "pyproject.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected" in done.stderr
