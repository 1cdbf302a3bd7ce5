"""Tables that are sorted by their address: it can be kept, sent to somebody, and needs no script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

from fastapi import Query

__all__ = ["Descending", "Order", "SortBy", "Sorting"]

Row = TypeVar("Row")
Order = Literal["asc", "desc"]

SortBy = Annotated[str | None, Query(alias="sort", max_length=50, description="key of a column")]
Descending = Annotated[Order, Query(alias="order", description="the smallest or the largest first")]


@dataclass(frozen=True)
class Sorting(Generic[Row]):
    """How a table is sorted, and the addresses that sort it otherwise.

    Args:
        path: of the page.
        keys: by column, what it is sorted by; rows of which that is None come last.
        column: that it is sorted by; one that it has not means its first.
        order: of that column.
        others: further parameters of the page's address, which stay as they are.
    """

    path: str
    keys: Mapping[str, Callable[[Row], Any]]
    column: str | None
    order: Order = "asc"
    others: Mapping[str, Any] | None = None

    @property
    def by(self) -> str:
        """The column that it is sorted by."""
        return self.column if self.column is not None and self.column in self.keys else next(iter(self.keys))

    def sorted(self, rows: Iterable[Row]) -> list[Row]:
        """The rows in that order."""
        key = self.keys[self.by]
        known: list[Row] = []
        unknown: list[Row] = []
        for row in rows:
            (unknown if key(row) is None else known).append(row)
        return sorted(known, key=key, reverse=self.order == "desc") + unknown

    def direction(self, column: str) -> str | None:
        """What a screen reader says of a column: ``aria-sort``."""
        return {"asc": "ascending", "desc": "descending"}[self.order] if column == self.by else None

    def address(self, column: str) -> str:
        """Where the heading of a column leads: sorted by it, or the other way round where it is already."""
        order = "desc" if column == self.by and self.order == "asc" else "asc"
        given = {name: value for name, value in (self.others or {}).items() if value is not None}
        return f"{self.path}?{urlencode({**given, 'sort': column, 'order': order})}"
