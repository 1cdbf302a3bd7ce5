"""What pydantic finds wrong with a shape, in words for whoever made it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["member", "reason", "reasons"]

_KIND: Final = re.compile(r"constrained-\w+|[\w-]+\[.*\]", re.DOTALL)
"""Pydantic's names for what a member might have been: ``constrained-int``, ``function-after[check(), str]``."""


def member(path: Sequence[int | str]) -> str:
    """Where something is wrong, such as ``constraints.macs``; empty where that is the whole."""
    return ".".join(str(part) for part in path if isinstance(part, int) or not _KIND.fullmatch(part))


def reason(error: Mapping[str, Any]) -> str:
    """Why, of one of pydantic's errors: a validator's own words without pydantic's before them."""
    return str(error["msg"]).removeprefix("Value error, ")


def reasons(errors: Sequence[Mapping[str, Any]]) -> str:
    """Why the first one's member was refused: one that may be of several kinds has an error for each of them.

    A validator that found the value itself wrong has said what all kinds may be: pydantic's word on the others is left
    out then.
    """
    where = member(errors[0]["loc"])
    of_it = [each for each in errors if member(each["loc"]) == where]
    own = [each for each in of_it if each.get("type") == "value_error"]
    return "; or ".join(reason(each) for each in own or of_it)
