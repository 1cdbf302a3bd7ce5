"""Lists of values that a statement has been written with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, literal
from sqlalchemy.orm import InstrumentedAttribute

__all__ = ["one_of"]


def one_of(column: InstrumentedAttribute[Any], values: Collection[str]) -> ColumnElement[bool]:
    """For the ``where`` of a statement that is kept: the column has one of these values, which never change.

    ``in_`` with plain values is rendered anew at every execution, because there might be more of them each time.
    """
    return column.in_([literal(value) for value in values])
