"""Lists page by page: cursors that say where the page before ended."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import InputError

__all__ = ["newest_first", "read_cursor", "written_cursor"]

Row = TypeVar("Row")


def newest_first(
    session: Session,
    query: Select[Row],
    table: Any,  # noqa: ANN401 - a mapped class with created_at and id
    cursor: str | None,
    limit: int,
) -> tuple[list[Row], str | None]:
    """Rows by age, newest first, and the cursor of the next page.

    Raises:
        InputError: the cursor is none.
    """
    if cursor is not None:
        created, row_id = read_cursor(cursor, (float, str))
        query = query.where(tuple_(table.created_at, table.id) < tuple_(created, row_id))
    rows = list(session.scalars(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)))
    last: Any = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], None if last is None else written_cursor(last.created_at, last.id)


def written_cursor(*values: float | str | None) -> str:
    """A cursor that holds these values."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def read_cursor(cursor: str, kinds: tuple[Callable[[Any], Any], ...]) -> list[Any]:
    """The values of a cursor, each made by its kind.

    Raises:
        InputError: it is none of ours.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [_bindable(kind(value)) for kind, value in zip(kinds, values, strict=True)]
    except (binascii.Error, ValueError, TypeError) as problem:
        raise InputError(
            "invalid_request",
            "this cursor is not one of ours",
            got=cursor,
            expected="the `next` of an earlier page",
        ) from problem


def _bindable(value: Any) -> Any:  # noqa: ANN401 - whatever a cursor may hold
    """The value, provided that every database takes it."""
    if (isinstance(value, int) and abs(value) >= 2**63) or (isinstance(value, str) and "\0" in value):
        raise ValueError(value)
    return value
