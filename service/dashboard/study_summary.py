"""One study in a few words: what it is after, what it has found, what it is doing."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from ranksearch.contracts import wording
from ranksearch.contracts.goals import CostWord
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.studies import Study
from service.dashboard.figures import percent

__all__ = ["StudySummary"]

_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_SHOWN_ELSEWHERE: Final = frozenset({"name", "constraints"})
_COSTS: Final[dict[CostWord, str]] = {"macs": "macs", "params": "parameters", "latency_ms": "latency"}
Kind = Literal["best", "smallest", "front"]
Part = tuple[Literal["complete", "pruned", "failed", "running"], int]


class StudySummary:
    """What the pages say of a study, beside what it is.

    Args:
        study: as the API answers it.
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    @property
    def ended(self) -> bool:
        """Whether nothing of it will move any more, but for its artifact."""
        return self.study.state in _ENDED

    @property
    def kind(self) -> Kind:
        """What it is after: the best network within a budget, the smallest, or a front."""
        asked = self.study.request
        return "front" if len(asked.objectives) > 1 else "smallest" if asked.smallest else "best"

    @property
    def costs(self) -> list[tuple[CostWord, str]]:
        """The costs that its trials have, with what people call them."""
        return [(word, label) for word, label in _COSTS.items() if word != "latency_ms" or self._is_timed]

    @property
    def cost(self) -> CostWord:
        """The cost that it is about most: the one that is sought, else the first that is bounded."""
        asked = self.study.request
        sought: list[CostWord] = [word for word in asked.objectives if word != "proxy"]
        bounded: list[CostWord] = [word for word in _COSTS if getattr(asked.constraints, word) is not None]
        return [*sought, *bounded, "macs"][0]

    @property
    def cost_label(self) -> str:
        """What people call it."""
        return _COSTS[self.cost]

    @property
    def bounds_results(self) -> bool:
        """Whether a trial may turn out to be outside the bounds: those that only a measurement can tell."""
        asked = self.study.request
        return asked.max_drop is not None or asked.constraints.latency_ms is not None

    @property
    def _is_timed(self) -> bool:
        return self.study.request.measures_latency

    @property
    def goal(self) -> str:
        """What it is after: "best accuracy"."""
        return wording.goal(self.study.request, self.study.metric)

    @property
    def bounds(self) -> list[str]:
        """What may not be exceeded, in the words of whoever asked: "macs ≤ 50%"."""
        return wording.bounds(self.study)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """What else was asked for, in the words of the request; what was left to itself is left out."""
        told = self.study.request.model_dump(mode="json", exclude_none=True)
        shown = {name: value for name, value in told.items() if name not in _SHOWN_ELSEWHERE and value not in ([], {})}
        return [(name.replace("_", " "), _in_words(value)) for name, value in shown.items()]

    @property
    def best(self) -> str | None:
        """The metric of the best trial."""
        study = self.study
        if study.best_value is None:
            return None
        told = wording.metric_value(study.metric, study.best_value)
        return told if study.metric == "accuracy" else f"{study.metric} {told}"

    @property
    def accuracy(self) -> str | None:
        """Of the best trial, where there are labels."""
        study = self.study
        best = study.best_value if study.metric == "accuracy" else study.best_accuracy
        return None if best is None else wording.accuracy(best)

    @property
    def dense_accuracy(self) -> str | None:
        """Of the dense network, once there is something to compare with it."""
        study = self.study
        dense = study.dense_value if study.metric == "accuracy" else study.dense_accuracy
        return None if dense is None or self.accuracy is None else wording.accuracy(dense)

    @property
    def best_note(self) -> str:
        """What else there is to say of the best trial."""
        if self.best is None:
            return "it ended without one" if self.ended else "no trial has ended yet"
        dense = None if self.dense_accuracy is None else f"dense {self.dense_accuracy}"
        metric = None if self.study.metric == "accuracy" else self.best
        return "; ".join(words for words in (dense, metric) if words is not None)

    @property
    def remaining_macs(self) -> float | None:
        """What remains of the multiply-accumulates, at most 1."""
        return _share(self.study.best_cost, self.study.dense, "macs")

    @property
    def remaining_params(self) -> float | None:
        """What remains of the parameters, at most 1."""
        return _share(self.study.best_cost, self.study.dense, "params")

    @property
    def saving(self) -> str | None:
        """What the best trial costs: "macs 48% (2.1×)"; the best one of a front saves least, and says nothing."""
        if self.kind == "front":
            return "the best of a front" if self.study.best_cost is not None else None
        left = self.remaining_macs
        return None if not left else f"macs {percent(left)} ({1 / left:.1f}×)"

    @property
    def parts(self) -> list[Part]:
        """Its trials by what became of them, for a bar as long as all that were asked for."""
        progress = self.study.progress
        return [
            ("complete", progress.complete),
            ("pruned", progress.pruned),
            ("failed", progress.failed),
            ("running", progress.running),
        ]

    @property
    def status(self) -> str:
        """What it is doing, or why it is not doing anything."""
        return wording.status(self.study)

    @property
    def seconds(self) -> float | None:
        """How long it took, from its first trial to its end."""
        return wording.seconds_taken(self.study)

    @property
    def ends(self) -> datetime | None:
        """When it ended, or will end."""
        return self.study.finished_at or self.study.expected_at


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(one)}" for name, one in value.items()) or "none"
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _share(best: Cost | None, dense: Cost, word: Literal["macs", "params"]) -> float | None:
    whole = dense.macs if word == "macs" else dense.params
    if best is None or not whole:
        return None
    return (best.macs if word == "macs" else best.params) / whole
