"""Names of rows: a kind, an underscore, 16 random characters that need no escaping in a URL."""

from __future__ import annotations

import secrets
from typing import Literal

__all__ = ["new_id", "new_lease_token"]

_ALPHABET = "0123456789abcdefghijkmnpqrstuvwxyz"  # no l, no o: people read these aloud


def new_id(kind: Literal["mdl", "dts", "sty", "job", "usr", "prj", "tok"]) -> str:
    """A fresh id; 16 characters of 34 hold 81 bits."""
    return f"{kind}_" + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def new_lease_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(24)
