"""How a search goes: the best so far after each of its trials, and what there is to compare it with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ranksearch.contracts.goals import Metric, Objective
from ranksearch.contracts.insights import History
from ranksearch.contracts.studies import Event, Study, Trial, TrialOrigin
from ranksearch.contracts.wording import better, origin

__all__ = ["Course", "Reference", "SearchCourse"]


@dataclass(frozen=True)
class Reference:
    """Something to compare with, by its name."""

    words: str
    value: float


@dataclass(frozen=True)
class Course:
    """How a search went until some moment.

    Args:
        sought: of what the best is kept: the metric (``proxy``) or, for the smallest network, a cost.
        metric: of the study.
        trials: that were planned.
        steps: number of each trial that was better than all before it, and its value; ascending in number.
        references: warm starts, the best of the finalists on all images, the dense network.
    """

    sought: Objective
    metric: Metric
    trials: int
    steps: tuple[tuple[int, float], ...]
    references: tuple[Reference, ...]

    def is_better(self, one: float, other: float) -> bool:
        """Whether one value of what is sought is better than another."""
        return better(self.metric, one, other) if self.sought == "proxy" else one < other


@dataclass
class SearchCourse:
    """A course that goes on: begun with what the service tells of all trials, kept up by events.

    Args:
        metric: of the study.
        sought: see :class:`Course`.
        heard: number of the last event that is in it.
        trials: planned so far.
        dense: of what is sought, the dense network's; None: not measured yet.
    """

    metric: Metric
    sought: Objective
    heard: int
    trials: int
    dense: float | None
    _steps: list[tuple[int, float]] = field(default_factory=list)
    _starts: dict[int, tuple[TrialOrigin, float]] = field(default_factory=dict)
    _finals: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, told: History) -> SearchCourse:
        """The course of a study, by its history."""
        sought: Objective = study.request.objectives[0] if study.request.smallest else "proxy"
        made = cls(told.metric, sought, told.last_event, told.trials, _dense(study, sought, told.dense_value))
        amounts: dict[Objective, Sequence[float | None]] = {
            "proxy": told.values,
            "macs": told.macs,
            "params": told.params,
            "latency_ms": told.latencies or [],
        }
        at = {number: place for place, number in enumerate(told.numbers)}
        for number in told.improvements:
            value = amounts[sought][at[number]]
            if value is not None:
                made._take(number, value)
        if sought == "proxy":
            made._starts = {start.trial: (start.origin, start.value) for start in told.starts}
            made._finals = {final.trial: final.value for final in told.finals}
        return made

    def hear(self, event: Event) -> None:
        """Take in what happened; what is known already is passed over."""
        if event.id <= self.heard:
            return
        self.heard = event.id
        if event.kind == "trial":
            self._hear_trial(Trial.model_validate(event.data))
        elif event.kind == "baseline":
            study = Study.model_validate(event.data)
            self.dense = _dense(study, self.sought, study.dense_value)

    def now(self) -> Course:
        """The course until now."""
        return Course(self.sought, self.metric, self.trials, tuple(self._steps), tuple(self._references()))

    def _hear_trial(self, trial: Trial) -> None:
        self.trials = max(self.trials, trial.number + 1)
        value = _amount(trial, self.sought)
        if trial.state != "COMPLETE" or value is None:
            return
        if self.sought == "proxy" and trial.origin is not None and trial.origin != "sampler":
            self._starts[trial.number] = (trial.origin, value)
        if self.sought == "proxy" and trial.final is not None:
            self._finals[trial.number] = trial.final.value
        if trial.feasible is not False:
            self._take(trial.number, value)

    def _take(self, number: int, value: float) -> None:
        """Trials end in any order: one may be better than those before it, and make later ones none any more."""
        at = bisect_left(self._steps, (number,))
        if at and not self._is_better(value, self._steps[at - 1][1]):
            return
        later = self._steps[at:]
        while later and not self._is_better(later[0][1], value):
            later.pop(0)
        self._steps[at:] = [(number, value), *later]

    def _is_better(self, one: float, other: float) -> bool:
        return better(self.metric, one, other) if self.sought == "proxy" else one < other

    def _references(self) -> Iterable[Reference]:
        for word, value in self._starts.values():
            yield Reference(origin(word), value)
        if self._finals:
            best = max if self.metric == "accuracy" else min
            yield Reference("on all images", best(self._finals.values()))
        if self.dense is not None:
            yield Reference("dense", self.dense)


def _amount(trial: Trial, sought: Objective) -> float | None:
    if sought == "proxy":
        return trial.value
    if sought == "latency_ms":
        measured = None if trial.result is None else trial.result.latency
        return None if measured is None else measured.latency_ms
    if trial.planned is None:
        return None
    return trial.planned.params if sought == "params" else trial.planned.macs


def _dense(study: Study, sought: Objective, dense_value: float | None) -> float | None:
    if sought == "proxy":
        return dense_value
    return {"macs": study.dense.macs, "params": study.dense.params}.get(sought)
