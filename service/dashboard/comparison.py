"""Two studies, or two trials of one study, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ranksearch.contracts import wording
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.insights import History
from ranksearch.contracts.studies import Best, LayerChoice, Study, Trial
from service.dashboard.figures import duration, percent
from service.dashboard.study_summary import StudySummary

__all__ = ["Curve", "Curves", "LayerPair", "Side", "curves_of", "pairs_of", "side_of_study", "side_of_trial"]

_NOTHING: Final = "–"
_WIDTH: Final = 1000
_HEIGHT: Final = 300


@dataclass(frozen=True)
class Side:
    """One of the two.

    Args:
        title: what it is called.
        path: of its page.
        facts: label → what is told; both sides have the same labels.
        layers: what every layer becomes; none where there is no best trial yet.
    """

    title: str
    path: str
    facts: dict[str, str]
    layers: Sequence[LayerChoice]


@dataclass(frozen=True)
class LayerPair:
    """One layer on both sides; None where a network has no such layer."""

    name: str
    first: LayerChoice | None
    second: LayerChoice | None

    @property
    def is_same(self) -> bool:
        """Whether both make the same of it."""
        return self.first is not None and self.second is not None and self.first.choice == self.second.choice

    @property
    def difference(self) -> str:
        """What the second keeps more or less of the layer's macs, in points of its dense ones."""
        if self.first is None or self.second is None:
            return f"only in {'B' if self.first is None else 'A'}"
        if self.is_same:
            return "same"
        points = round(100 * (remaining(self.second) - remaining(self.first)))
        return f"{points:+d} points of its macs".replace("-", "−") if points else "other ranks, as many macs"


@dataclass(frozen=True)
class Curve:
    """How the best value fell or rose over the trials of a study, to be drawn into 1000 by 300 units.

    Args:
        points: of a line, as SVG has them.
        last: trials that were planned.
        best: the value at its end.
    """

    points: str
    last: int
    best: str


@dataclass(frozen=True)
class Curves:
    """Both histories in one drawing.

    Args:
        lines: of A and of B.
        highest: the value at the upper edge.
        lowest: the value at the lower edge.
        trials: at the right edge.
    """

    lines: tuple[Curve, Curve]
    highest: str
    lowest: str
    trials: int


def remaining(layer: LayerChoice) -> float:
    """What remains of a layer's macs."""
    return layer.compressed.macs / layer.dense.macs if layer.dense.macs else 1.0


def side_of_study(study: Study, best: Best | None) -> Side:
    """A study, by its best trial."""
    summary, progress = StudySummary(study), study.progress
    facts = {
        "State": study.state,
        "Goal": summary.goal,
        "Budget": ", ".join(summary.bounds) or "none",
        "Best trial": _NOTHING if study.best_trial is None else str(study.best_trial),
        **_value(study.metric, study.best_value, study.best_accuracy),
        "Accuracy of the dense network": summary.dense_accuracy or _NOTHING,
        "Macs that remain": percent(summary.remaining_macs, 1),
        "Parameters that remain": percent(summary.remaining_params, 1),
        "Trials": f"{progress.finished} of {progress.n_trials}, {progress.failed} failed",
        "Took": duration(summary.seconds),
    }
    return Side(study.name, f"/studies/{study.id}", facts, [] if best is None else best.layers)


def side_of_trial(study: Study, trial: Trial, layers: Sequence[LayerChoice]) -> Side:
    """A trial, by its measurement on all images where there is one."""
    result = trial.final or trial.result
    planned, dense = trial.planned, study.dense
    facts = {
        "State": trial.state.lower(),
        "Ranks from": wording.origin(trial.origin) or _NOTHING,
        **_value(
            study.metric,
            trial.value if result is None else result.value,
            None if result is None else result.accuracy,
        ),
        "Measured on": _NOTHING if result is None else f"{result.images:,} images",
        "Macs that remain": percent(None if planned is None else planned.macs / max(1, dense.macs), 1),
        "Parameters that remain": percent(None if planned is None else planned.params / max(1, dense.params), 1),
        "Latency": _NOTHING if result is None or result.latency is None else f"{result.latency.latency_ms:.3g} ms",
        "Took": duration(None if trial.result is None else trial.result.seconds.total),
    }
    return Side(f"Trial {trial.number}", f"/studies/{study.id}/trials/{trial.number}", facts, layers)


def pairs_of(first: Side, second: Side) -> list[LayerPair]:
    """The layers of both by their names, in the order of the first; what only the second has comes last."""
    known = [{layer.name: layer for layer in side.layers} for side in (first, second)]
    return [LayerPair(name, known[0].get(name), known[1].get(name)) for name in {**known[0], **known[1]}]


def curves_of(first: History, second: History) -> Curves | None:
    """Both histories in one drawing; None where they are judged by different metrics or nothing is measured yet."""
    steps = _steps(first), _steps(second)
    if first.metric != second.metric or not all(steps):
        return None
    values = [value for step in steps for _, value in step]
    longest = max(1, first.trials, second.trials)
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    lines = _curve(first, steps[0], longest, low, span), _curve(second, steps[1], longest, low, span)
    highest, lowest = (wording.metric_value(first.metric, value) for value in (high, low))
    return Curves(lines, highest, lowest, longest)


def _value(metric: Metric, value: float | None, accuracy: float | None) -> dict[str, str]:
    """The metric and, where that is another one, the accuracy."""
    told: dict[str, str] = {
        "Accuracy" if metric == "accuracy" else metric: wording.metric_value(metric, value) or _NOTHING
    }
    return told if metric == "accuracy" else {**told, "Accuracy": wording.accuracy(accuracy) or _NOTHING}


def _steps(history: History) -> list[tuple[int, float]]:
    """Trials that were better than all before, with their values."""
    values = dict(zip(history.numbers, history.values, strict=True))
    return [(number, value) for number in history.improvements if (value := values.get(number)) is not None]


def _curve(history: History, steps: Sequence[tuple[int, float]], longest: int, low: float, span: float) -> Curve:
    def across(number: int) -> float:
        return round(_WIDTH * number / longest, 1)

    def down(value: float) -> float:
        return round(_HEIGHT * (1 - (value - low) / span), 1)

    corners: list[str] = []
    for at, (number, value) in enumerate(steps):
        if at:
            corners.append(f"{across(number)},{down(steps[at - 1][1])}")
        corners.append(f"{across(number)},{down(value)}")
    corners.append(f"{across(history.trials)},{down(steps[-1][1])}")
    return Curve(" ".join(corners), history.trials, wording.metric_value(history.metric, steps[-1][1]))
