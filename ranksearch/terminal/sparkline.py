"""A value that stays until it changes, as a line a few rows high: in braille dots, or in ASCII.

Rows are given from the top. A row of braille has four levels and a column two places; of ASCII three and one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Frame", "ascii_line", "braille_line"]

Point = tuple[float, float]
"""Where a value begins, and the value."""

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Of a braille character, by row from the top and by place: what to add to U+2800."""
_BRAILLE: Final = 0x2800
_LEVELS: Final = "_-^"
"""Of an ASCII row, from below."""
_RISE: Final = "|"


@dataclass(frozen=True)
class Frame:
    """What a drawing shows.

    Args:
        width: in characters.
        height: in rows.
        first: where it begins.
        last: where it ends.
        low: the value at its lower edge; what is below stands there.
        high: at its upper edge.
    """

    width: int
    height: int
    first: float
    last: float
    low: float
    high: float

    def place(self, at: float, places: int) -> int:
        """Which of so many places across, from the left."""
        share = (at - self.first) / (self.last - self.first) if self.last > self.first else 0.0
        return round(min(1.0, max(0.0, share)) * (places - 1))

    def level(self, value: float, levels: int) -> int:
        """Which of so many levels, from below; the middle where the frame has no height."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(min(1.0, max(0.0, share)) * (levels - 1))

    def row(self, value: float) -> int:
        """In which row it stands, from the top: the one that a braille line at this value is in."""
        per_row = len(_DOTS)
        return self.height - 1 - self.level(value, per_row * self.height) // per_row


def braille_line(points: Sequence[Point], frame: Frame) -> list[str]:
    """The line in braille.

    Args:
        points: ascending in where they begin; each value stays until the next, which is where the line ends.
        frame: what is shown.
    """
    per_row, per_column = len(_DOTS), len(_DOTS[0])
    places, levels = per_column * frame.width, per_row * frame.height
    cells = [[0] * frame.width for _ in range(frame.height)]
    for place, (low, high, _) in _spans(points, frame, places, levels).items():
        for level in range(low, high + 1):
            from_top = levels - 1 - level
            cells[from_top // per_row][place // per_column] |= _DOTS[from_top % per_row][place % per_column]
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in row) for row in cells]


def ascii_line(points: Sequence[Point], frame: Frame) -> list[str]:
    """The line in ASCII; see :func:`braille_line`."""
    per_row = len(_LEVELS)
    cells = [[" "] * frame.width for _ in range(frame.height)]
    for place, (low, high, end) in _spans(points, frame, frame.width, per_row * frame.height).items():
        for level in range(low, high + 1):
            cells[frame.height - 1 - level // per_row][place] = _RISE
        cells[frame.height - 1 - end // per_row][place] = _LEVELS[end % per_row]
    return ["".join(row) for row in cells]


def _spans(points: Sequence[Point], frame: Frame, places: int, levels: int) -> dict[int, tuple[int, int, int]]:
    """By place from the first point on: the lowest and the highest level of the line there, and where it goes on."""
    spans: dict[int, tuple[int, int, int]] = {}
    last, end = 0, 0
    for at, value in points:
        place, level = frame.place(at, places), frame.level(value, levels)
        if spans:
            spans.update(dict.fromkeys(range(last + 1, place + 1), (end, end, end)))
        low, high, _ = spans.get(place, (level, level, level))
        spans[place] = (min(low, level), max(high, level), level)
        last, end = place, level
    return spans
