"""Which part of a picture gets how many of a terminal's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

__all__ = ["Section", "allotted"]


@dataclass(frozen=True)
class Section:
    """A part of a picture, drawn in as many rows as there are for it.

    Args:
        least: rows below which it is left out.
        most: rows above which it has nothing more to say.
        draw: takes a number of rows between these, and returns at most so many lines.
    """

    least: int
    most: int
    draw: Callable[[int], list[Text]]


def allotted(rows: int, sections: Sequence[Section]) -> list[int]:
    """How many rows each section gets, in their order; 0: it is left out.

    Args:
        rows: there are.
        sections: the most necessary first. First each gets its least, as far as there is room; what is left over goes
            to them in turns, row by row, until each has its most.
    """
    given = []
    for section in sections:
        taken = min(section.least, section.most)
        given.append(taken if taken <= rows else 0)
        rows -= given[-1]
    while rows > 0:
        hungry = [at for at, section in enumerate(sections) if 0 < given[at] < section.most]
        if not hungry:
            break
        for at in hungry[:rows]:
            given[at] += 1
        rows -= len(hungry[:rows])
    return given
