"""Sizes as people write them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["bytes_of"]

_UNITS: Final = {
    "": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{letter: 1024**power for power, letter in enumerate("kmgt", start=1)},
    "b": 1,
}


def bytes_of(size: str) -> int:
    """The bytes of ``20GiB``, ``20G`` (the same), ``500 MB`` or ``1048576``.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", size.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{size!r} is no size such as 20GiB")
    return int(float(found[1]) * _UNITS[found[2]])
