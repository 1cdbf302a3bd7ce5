"""Files that a task makes for the agent to upload."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["named_by_sha256"]


def named_by_sha256(made: Path) -> str:
    """Rename a file to its own sha256, in its folder; returns that."""
    with made.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    made.replace(made.with_name(sha256))
    return sha256
