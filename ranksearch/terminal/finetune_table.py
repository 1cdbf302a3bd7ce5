"""How the fine-tuning of a study's trials goes, one line a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ranksearch.contracts.finetuning import FineTune, TuningScore, TuningSummary
from ranksearch.contracts.wording import accuracy, agreement, metric_value
from ranksearch.terminal.characters import Characters, characters_of
from ranksearch.terminal.columns import Column, Note, lines
from ranksearch.terminal.output import printable
from ranksearch.terminal.sparkline import Frame, ascii_line, braille_line

__all__ = ["FineTuneTable"]

_BAR: Final = 10
_CURVE: Final = 16
_LEAST_POINTS: Final = 2
_RESULT: Final = 4
"""The column from which on a reason stands where there is no result."""


class FineTuneTable:
    """Renders them within the width of the console.

    Args:
        finetunes: of one study, by trial.
        summary: what they have come to.
    """

    def __init__(self, finetunes: Sequence[FineTune], summary: TuningSummary | None = None) -> None:
        self._finetunes = finetunes
        self._summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A heading, a line each, and what the proxy was worth."""
        characters = characters_of(console)
        found = self._finetunes
        columns = [
            Column("trial", [str(one.trial) for one in found], right=True),
            Column("steps", [_progress(one, characters) for one in found]),
            Column("loss", [_curve(one, characters) for one in found], dispensable=1),
            Column("before", [_score(one.before) for one in found], right=True),
            Column("after", [_score(one.after) for one in found], right=True, style="bold green"),
            Column("dense", [_score(one.dense) for one in found], right=True, dispensable=2),
            Column("", [_verdict(one) for one in found], least=8),
        ]
        notes = {
            row: Note(_RESULT, printable(one.error.detail), "red")
            for row, one in enumerate(found)
            if one.error is not None and one.state == "failed"
        }
        made = lines(columns, options.max_width, notes)
        if self._summary is not None and self._summary.kendall_tau is not None:
            made.append(Text(agreement(self._summary.kendall_tau)))
        for line in made:
            yield Text(characters.spelled(line.plain)) if not line.spans else _spelled(line, characters)


def _spelled(line: Text, characters: Characters) -> Text:
    """The same with its styles; the words are spelled letter by letter, so that spans stay where they are."""
    spelled = characters.spelled(line.plain)
    return Text(spelled, spans=list(line.spans)) if len(spelled) == len(line.plain) else Text(spelled)


def _progress(one: FineTune, characters: Characters) -> str:
    share = one.step / one.steps if one.steps else 0.0
    return f"{characters.bar(share, _BAR)} {one.step}/{one.steps}"


def _curve(one: FineTune, characters: Characters) -> str:
    """The loss as a line, and its last value."""
    if len(one.curve) < _LEAST_POINTS:
        return "" if not one.curve else f"{one.curve[-1].loss:.3g}"
    points = [(float(point.step), point.loss) for point in one.curve]
    losses = [loss for _, loss in points]
    frame = Frame(_CURVE, 1, points[0][0], float(one.steps), min(losses), max(losses))
    (drawn,) = (braille_line if characters.braille else ascii_line)(points, frame)
    return f"{drawn} {losses[-1]:.3g}"


def _score(score: TuningScore | None) -> str:
    if score is None:
        return ""
    return metric_value("kl", score.value) if score.accuracy is None else accuracy(score.accuracy)


def _verdict(one: FineTune) -> str:
    if one.chosen:
        return "the best"
    if one.state == "ready":
        return "better" if one.improved else "no better: not taken"
    if one.state == "running" and one.resumed:
        return f"running, resumed {one.resumed}×"
    return one.state
