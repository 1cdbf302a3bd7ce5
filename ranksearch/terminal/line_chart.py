"""A line a few rows high with what there is to compare it with: how a search goes, or what a front looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from ranksearch.contracts.goals import Objective
from ranksearch.contracts.studies import Pareto
from ranksearch.contracts.wording import better, cost, count, metric_value
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.characters import Characters
from ranksearch.terminal.columns import shortened
from ranksearch.terminal.search_course import Course
from ranksearch.terminal.sparkline import Frame, ascii_line, braille_line

__all__ = ["course_chart", "front_chart", "scale"]

_LEAST, _MOST = 4, 8
"""Rows, the title among them."""
_SQUASHED: Final = 0.25
"""Of a drawing's height."""
_FIRST_TRIALS: Final = 9
"""A search's first trials are not drawn wider than so many of them would be."""
_LABELS: Final = 30
_SHARE_OF_LABELS: Final = 3
_AWAITED: Final = "each trial appears here as soon as a worker has measured it"
_NONE_YET: Final = "no trial has completed within the bounds yet"


@dataclass(frozen=True)
class Label:
    """What stands beside the drawing, where its value is.

    Args:
        words: with the value.
        value: that is meant.
        style: of the words.
        across: whether its level is drawn as a line.
    """

    words: str
    value: float
    style: str = "dim"
    across: bool = True


def course_chart(course: Course, width: int, characters: Characters, *, over: bool) -> Section | None:
    """The best so far after each trial; None where the search is over and found none."""
    if not course.steps:
        words = _NONE_YET if course.trials else _AWAITED
        return None if over else Section(1, 1, lambda _: [Text(words, style="dim")])
    least = course.sought != "proxy"
    what = f"least {course.sought}" if least else f"best {course.metric}"
    direction = "higher" if course.metric == "accuracy" and not least else "lower"
    title = f"{what} up to trial {course.trials - 1}, {direction} is better"
    best = course.steps[-1][1]
    labels = [Label(f"best {_told(course, best)}", best, "bold green", across=False)]
    labels += [Label(f"{one.words} {_told(course, one.value)}", one.value) for one in course.references]
    low, high = scale([*(value for _, value in course.steps), *(label.value for label in labels)], best)
    last = max(_FIRST_TRIALS, course.trials - 1)
    steps = [*course.steps, (course.trials - 1, best)]
    return Section(
        _LEAST, _MOST, lambda rows: _drawn(title, steps, labels, (0, last, low, high), (width, rows), characters)
    )


def front_chart(front: Pareto, width: int, characters: Characters) -> Section | None:
    """The best metric that is to be had for so much of the first cost; None where that is no line."""
    word = next(word for word in front.objectives if word != "proxy")
    points: list[tuple[float, float]] = []
    for amount, value in sorted((point.values[word], point.values["proxy"]) for point in front.points):
        if not points or better(front.metric, value, points[-1][1]):  # of three objectives some lie behind others
            points.append((amount, value))
    if len(points) <= 1:
        return None
    (cheapest, _), (dearest, _) = points[0], points[-1]
    values = [value for _, value in points]
    title = f"{front.metric} of the front, from {_amount(word, cheapest)} to {cost(word, dearest)}"
    labels = [Label(metric_value(front.metric, value), value, across=False) for value in (min(values), max(values))]
    box = (cheapest, dearest, min(values), max(values))
    return Section(_LEAST, _MOST, lambda rows: _drawn(title, points, labels, box, (width, rows), characters))


def scale(values: Sequence[float], best: float) -> tuple[float, float]:
    """From where to where a drawing reaches: over all values, but for far ones that would squash the others.

    Those are named beside its title. The best is always within, and equal values are not squashed by another one.
    """
    kept = sorted(values)
    while len(kept) > 2:  # noqa: PLR2004 - between two there is nothing to squash
        without = [kept[1:]] if kept[0] != best else []
        without += [kept[:-1]] if kept[-1] != best else []
        rest = min(without, key=lambda some: some[-1] - some[0], default=kept)
        if rest[0] == rest[-1] or rest[-1] - rest[0] >= _SQUASHED * (kept[-1] - kept[0]):
            break
        kept = rest
    return kept[0], kept[-1]


def _drawn(
    title: str,
    points: Sequence[tuple[float, float]],
    labels: Sequence[Label],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    characters: Characters,
) -> list[Text]:
    width, rows = size
    within = sorted((label for label in labels if box[2] <= label.value <= box[3]), key=lambda label: -label.value)
    beside = min(_LABELS, width // _SHARE_OF_LABELS, max(cell_len(label.words) for label in within))
    frame = Frame(max(1, width - beside - 1), rows - 1, *box)
    line = (braille_line if characters.braille else ascii_line)(points, frame)
    across = {frame.row(label.value) for label in within if label.across}
    places = _placed([frame.row(label.value) for label in within], frame.height)
    made = [_headed(title, [_with_arrow(label, box) for label in labels if label not in within], width)]
    for row in range(frame.height):
        drawn = Text()
        for blank, cells in groupby(line[row], key=str.isspace):
            run = "".join(cells)
            drawn.append(characters.level * len(run) if blank and row in across else run, "dim" if blank else "green")
        here = [label for label, place in zip(within, places, strict=True) if place == row]
        if here:
            drawn.append(" ")
            drawn.append(shortened(", ".join(label.words for label in here), beside), here[0].style)
        drawn.rstrip()
        made.append(drawn)
    return made


def _headed(title: str, beyond: Sequence[str], width: int) -> Text:
    """The title and, at the right edge, what is too far off to stand in the drawing."""
    line = Text(title, style="bold")
    room = width - cell_len(title) - 2
    if beyond and room > 0:
        words = shortened(", ".join(beyond), room)
        line.append(" " * (room + 2 - cell_len(words)))
        line.append(words, "not bold dim")
    return line


def _placed(wanted: Sequence[int], height: int) -> list[int]:
    """A row for each label, which are given from the top: as near to what it wants as the others leave it."""
    placed: list[int] = []
    for row in wanted:
        placed.append(max(row, placed[-1] + 1) if placed else row)
    last = height - 1
    for at in reversed(range(len(placed))):
        placed[at] = min(placed[at], max(0, last))
        last = placed[at] - 1
    return placed


def _with_arrow(label: Label, box: tuple[float, float, float, float]) -> str:
    return f"{label.words} {'↓' if label.value < box[2] else '↑'}"


def _told(course: Course, value: float) -> str:
    return metric_value(course.metric, value) if course.sought == "proxy" else _amount(course.sought, value)


def _amount(word: Objective, value: float) -> str:
    return f"{value:.3g} ms" if word == "latency_ms" else count(value)
