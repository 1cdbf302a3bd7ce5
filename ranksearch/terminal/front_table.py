"""The front of a study with several objectives, in as few lines as there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ranksearch.contracts.goals import Objective
from ranksearch.contracts.studies import Pareto, ParetoPoint
from ranksearch.contracts.wording import accuracy, count, metric_value, origin
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.columns import Column, lines, shortened

__all__ = ["front_table"]

_LEAST: Final = 4


def front_table(front: Pareto, width: int) -> Section:
    """One line a trial, by the first objective; where there are more than lines, from all along the front."""

    def draw(rows: int) -> list[Text]:
        fits = rows > len(front.points)
        shown = front.points if fits else _spread(front.points, max(1, rows - 2))
        made = _table(front, shown, width)
        left = len(front.points) - len(shown)
        if left:
            made.append(
                Text(shortened(f"and {left} more between: ranksearch pareto {front.study}", width), style="dim")
            )
        return made

    whole = 1 + len(front.points)
    return Section(min(_LEAST, whole), whole, draw)


def _spread(points: Sequence[ParetoPoint], number: int) -> list[ParetoPoint]:
    """So many of them, both ends among them."""
    if number == 1:
        return [points[0]]
    return [points[round(at * (len(points) - 1) / (number - 1))] for at in range(number)]


def _table(front: Pareto, points: Sequence[ParetoPoint], width: int) -> list[Text]:
    columns = [Column("front: trial", [str(point.trial) for point in points], right=True)]
    for word in front.objectives:
        heading = front.metric if word == "proxy" else word
        columns.append(Column(heading, [_value(front, word, point) for point in points], right=True))
    judged_by_it = front.metric == "accuracy" and "proxy" in front.objectives
    accuracies = [accuracy(point.result.accuracy) for point in points]
    if any(accuracies) and not judged_by_it:
        columns.append(Column("accuracy", accuracies, right=True, dispensable=1))
    columns.append(Column("origin", [origin(point.origin) for point in points], dispensable=2))
    return lines(columns, width)


def _value(front: Pareto, word: Objective, point: ParetoPoint) -> str:
    value = point.values[word]
    if word == "proxy":
        return metric_value(front.metric, value)
    return f"{value:.3g}" if word == "latency_ms" else count(value)
