"""The trials that changed last, each in one line: what came of it, or why nothing did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ranksearch.contracts.goals import Metric
from ranksearch.contracts.studies import Trial
from ranksearch.contracts.wording import accuracy, count, metric_value, origin
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.columns import Column, Note, lines
from ranksearch.terminal.output import printable

__all__ = ["recent_trials"]

_LEAST: Final = 3
_COLUMNS_BEFORE_A_REASON: Final = 2


def recent_trials(trials: Sequence[Trial], metric: Metric, width: int) -> Section:
    """The latest first, a finalist as it was measured on all images; as many as there are lines."""
    return Section(
        min(_LEAST, 1 + len(trials)), 1 + len(trials), lambda rows: _table(trials[: rows - 1], metric, width)
    )


def _table(trials: Sequence[Trial], metric: Metric, width: int) -> list[Text]:
    results = [trial.final or trial.result for trial in trials]
    values = [trial.value if trial.final is None else trial.final.value for trial in trials]
    columns = [
        Column("trial", [str(trial.number) for trial in trials], right=True),
        Column("state", [trial.state for trial in trials]),
        Column(metric, [metric_value(metric, value) for value in values], right=True),
        Column("macs", ["" if one.planned is None else count(one.planned.macs) for one in trials], right=True),
        Column("origin", [origin(trial.origin) for trial in trials], dispensable=3),
        Column(
            "seconds", ["" if one is None else f"{one.seconds.total:.1f}" for one in results], right=True, dispensable=2
        ),
        Column("", [_remark(trial) for trial in trials], least=8),
    ]
    accuracies = ["" if one is None else accuracy(one.accuracy) for one in results]
    if metric != "accuracy" and any(accuracies):
        columns.insert(3, Column("accuracy", accuracies, right=True, dispensable=1))
    reasons = {
        at: Note(_COLUMNS_BEFORE_A_REASON, printable(" ".join(trial.error.detail.split())), "red")
        for at, trial in enumerate(trials)
        if trial.error is not None and trial.value is None
    }
    return lines(columns, width, reasons)


def _remark(trial: Trial) -> str:
    remarks = {
        "stopped early": trial.state == "PRUNED",
        "on all images": trial.final is not None,
        "above its bounds": trial.feasible is False,
    }
    return ", ".join(words for words, apply in remarks.items() if apply)
