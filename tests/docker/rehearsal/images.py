"""Images of other projects, stood in for: no registry of images is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docker.rehearsal.machine import PIP_SETTINGS, TRUSTED, Machine

__all__ = ["stand_in"]

_FOLDER = Path(__file__).parent / "standins"
NAMES = {
    "python": "python:3.11-slim",
    "postgres": "postgres:17",
    "caddy": "caddy:2-alpine",
    "versitygw": "versity/versitygw:v1.8.0",
}
"""A folder of ``standins`` → the image that it stands for."""


def stand_in(machine: Machine, bases: dict[str, Path], *names: str) -> None:
    """Build stand-ins on a machine.

    Args:
        machine: one with an engine.
        bases: a Debian release → a tar file of it, which becomes the image ``rehearsal-RELEASE``.
        names: folders of ``standins``.
    """
    place = machine.root / "root/standins"
    for name in names:
        shutil.copytree(_FOLDER / name, place / name)
        (place / name / "certificates").mkdir()
        if TRUSTED.is_dir():
            shutil.copytree(TRUSTED, place / name / "certificates", dirs_exist_ok=True)
        settings = PIP_SETTINGS.read_bytes() if PIP_SETTINGS.exists() else b""
        (place / name / "pip.conf").write_bytes(settings)
    for release, system in bases.items():
        shutil.copy(system, place / f"{release}.tar")
        machine.run(f"docker import standins/{release}.tar rehearsal-{release}", quiet=True)
    for name in names:
        print(f"-- {machine.name}: a stand-in for {NAMES[name]}", flush=True)
        machine.run(f"docker build --quiet --tag {NAMES[name]} standins/{name}", quiet=True)
    shutil.rmtree(place)
