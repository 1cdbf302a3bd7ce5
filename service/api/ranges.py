"""Which part of a file a ``Range`` header asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re

from ranksearch.contracts.errors import InputError

__all__ = ["asked_range"]

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def asked_range(stated: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None where the whole file is to be sent.

    That is so without a header, and with one that is none or that asks for several ranges at once: nobody needs to
    be served those.

    Raises:
        InputError: ``range_not_satisfiable``.
    """
    match = None if stated is None else _RANGE.fullmatch(stated.replace(" ", ""))
    if match is None:
        return None
    first, last = match[1], match[2]
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    if (first and int(first) >= size) or (not first and int(last) == 0):
        raise InputError(
            "range_not_satisfiable", "the range lies beyond the end", got=stated, expected=f"within {size} bytes"
        )
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
