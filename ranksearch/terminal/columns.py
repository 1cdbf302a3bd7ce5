"""Tables of exactly one line a row, which give up what they can where a terminal is narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

__all__ = ["GAP", "Column", "Note", "lines", "shortened"]

GAP: Final = 2
"""Spaces between two columns."""
_CUT: Final = "…"


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        heading: above it.
        cells: one a row.
        right: whether it is set flush right, as numbers are.
        least: characters to which it may be shortened; None: it never is.
        dispensable: above 0: it may be left out, and the column of the largest number is the first to go.
        keep_end: what is shortened loses its beginning.
        style: of its cells.
    """

    heading: str
    cells: Sequence[str]
    right: bool = False
    least: int | None = None
    dispensable: int = 0
    keep_end: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        """In characters, with nothing shortened."""
        return max(cell_len(text) for text in (self.heading, *self.cells))


@dataclass(frozen=True)
class Note:
    """What stands in a row instead of its columns from one of them on.

    Args:
        column: index of the first that it replaces.
        text: to be shortened as the width demands.
        style: of the text.
    """

    column: int
    text: str
    style: str = ""


def lines(columns: Sequence[Column], width: int, notes: Mapping[int, Note] | None = None) -> list[Text]:
    """The heading, and a line a row; none wider than ``width``.

    Args:
        columns: all with as many cells.
        width: in characters.
        notes: by row. A column that is named by one must not be dispensable, nor those before it.
    """
    kept, widths = _fitted(columns, width)
    heading = _joined(kept, widths, [column.heading for column in kept], "bold")
    made = [heading]
    for row in range(len(columns[0].cells)):
        note = (notes or {}).get(row)
        before = kept if note is None else kept[: note.column]
        line = _joined(before, widths, [column.cells[row] for column in before])
        if note is not None:
            room = width - sum(widths[: note.column]) - GAP * note.column
            line.append(" " * GAP if before else "")
            line.append(shortened(note.text, room), note.style)
        made.append(line)
    for line in made:
        line.rstrip()
        line.truncate(width)
    return made


def shortened(text: str, width: int, *, keep_end: bool = False) -> str:
    """The text in so many characters at most, with a sign where something was left out."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return _CUT[:width]
    if not keep_end:
        return set_cell_size(text, width - 1).rstrip() + _CUT
    while cell_len(text) > width - 1:
        text = text[1:]
    return _CUT + text


def _fitted(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """Those that stay, and their widths."""
    kept = list(columns)
    while True:
        widths = [column.width for column in kept]
        excess = sum(widths) + GAP * (len(kept) - 1) - width
        slack = [0 if one.least is None else max(0, wide - one.least) for one, wide in zip(kept, widths, strict=True)]
        droppable = max(kept, key=lambda column: column.dispensable)
        if excess <= sum(slack) or not droppable.dispensable:
            break
        kept.remove(droppable)
    for _ in range(max(0, excess)):
        at = max(range(len(kept)), key=lambda at: (slack[at] > 0, widths[at]))
        if not slack[at]:
            break
        slack[at] -= 1
        widths[at] -= 1
    return kept, widths


def _joined(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str], style: str | None = None) -> Text:
    line = Text(no_wrap=True, end="")
    for at, (column, wide, cell) in enumerate(zip(columns, widths, cells, strict=False)):
        text = shortened(cell, wide, keep_end=column.keep_end)
        padding = " " * (wide - cell_len(text))
        line.append(" " * GAP if at else "")
        line.append(padding + text if column.right else text + padding, column.style if style is None else style)
    return line
