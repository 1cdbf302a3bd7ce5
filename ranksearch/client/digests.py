"""sha256, as blobs are addressed by it, and as RFC 9530 writes it in a header."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

__all__ = ["content_digest", "sha256_of"]


def sha256_of(path: Path) -> str:
    """The lower-case hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(sha256: str) -> str:
    """The value of a ``Content-Digest`` header: ``sha-256=:base64:``."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
