"""Cursors whose results are described to those who read the description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from psycopg import Column, Cursor

__all__ = ["BriefCursor"]


class BriefCursor(Cursor[Any]):
    """psycopg's, for SQLAlchemy.

    That asks for the description of every result, and looks into it when it sees a statement for the first time. To
    make it, an object for each column, is a good part of what reading one row of many columns takes.
    """

    @property
    def description(self) -> Sequence[Column] | None:  # type: ignore[override]  # a list there
        """As the base's; its columns are made once one of them is asked for, which must be before the next result."""
        result = self.pgresult
        if result is None or not result.nfields:
            return super().description
        return _Columns(result.nfields, lambda: super(BriefCursor, self).description or [])


class _Columns(Sequence[Column]):
    def __init__(self, count: int, make: Callable[[], Sequence[Column]]) -> None:
        self._count = count
        self._make = make
        self._made: Sequence[Column] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Column: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Column]: ...
    def __getitem__(self, at: int | slice) -> Column | Sequence[Column]:
        if self._made is None:
            self._made = self._make()
        return self._made[at]
