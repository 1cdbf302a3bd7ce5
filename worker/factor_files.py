"""Where the factors of a key lie in the directory that agents and their evaluating children share."""

from __future__ import annotations

from pathlib import Path

__all__ = ["factor_path"]


def factor_path(directory: Path, key: str) -> Path:
    """One file a key; it is there whole or not at all."""
    return directory / key[:2] / f"{key}.safetensors"
