"""Which workers a study's jobs may be given to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ranksearch.contracts.study_requests import Requirements

__all__ = ["Abilities", "fits", "unmet"]

_GIB = 1 << 30


@dataclass(frozen=True)
class Abilities:
    """What a worker told of itself. ``device`` is torch's name, such as ``cuda:0``."""

    device: str
    memory_bytes: int | None
    labels: Mapping[str, str]


def unmet(stored: dict[str, Any] | None, worker: Abilities) -> list[str]:
    """The requirements, as a study's row has them, that a worker does not meet, in words."""
    if not stored:
        return []
    wanted = Requirements.model_validate(stored)
    missing = []
    if wanted.device is not None and not worker.device.startswith(wanted.device):
        missing.append(f"device={wanted.device}")
    if wanted.memory_bytes is not None and (worker.memory_bytes or 0) < wanted.memory_bytes:
        missing.append(f"memory={wanted.memory_bytes / _GIB:.4g}GiB")
    missing += [f"{name}={value}" for name, value in wanted.labels.items() if worker.labels.get(name) != value]
    return missing


def fits(stored: dict[str, Any] | None, worker: Abilities) -> bool:
    """Whether a worker meets all requirements."""
    return not unmet(stored, worker)
