"""Which part of a picture gets how many of a terminal's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

__all__ = ["Section", "allotted", "beside"]


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


def beside(left: Section, right: Section, width: int) -> Section:
    """Two sections in the same rows, the right one from column ``width`` on."""

    def draw(rows: int) -> list[Text]:
        made = left.draw(min(rows, left.most))
        added = right.draw(min(rows, right.most))
        made += [Text() for _ in range(len(added) - len(made))]
        for line, more in zip(made, added, strict=False):
            line.pad_right(max(0, width - line.cell_len))
            line.append_text(more)
            line.rstrip()
        return made

    return Section(max(left.least, right.least), max(left.most, right.most), draw)


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
