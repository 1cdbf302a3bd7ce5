"""Checkpoints of a training as files: safetensors, with the number of the step in the metadata."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

import proxy

__all__ = ["read_checkpoint", "write_checkpoint"]

_STEPS = "steps"


def write_checkpoint(state: proxy.TuningState, path: Path) -> None:
    """Write a training's state; everything that its next steps depend on."""
    save_file(state.tensors, path, metadata={_STEPS: str(state.steps)})


def read_checkpoint(path: Path) -> proxy.TuningState:
    """The state in a file of :func:`write_checkpoint`.

    Raises:
        ValueError: the file is none, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            steps = int((file.metadata() or {})[_STEPS])
            return proxy.TuningState(steps, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no dict
    except Exception as error:
        raise ValueError(f"{path.name} is no checkpoint: {error}") from error
