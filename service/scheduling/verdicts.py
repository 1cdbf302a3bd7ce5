"""What a measurement means for its study: how good, how far from the dense network, within the bounds or not.

Plain computations. *Bounds* are here those that only a measurement can tell: the latency, and how much of the metric
may be lost. Those on macs and params hold for every trial by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from weakref import WeakKeyDictionary

from ranksearch.contracts.goals import Metric, Objective
from ranksearch.contracts.studies import TrialResult
from ranksearch.contracts.study_requests import StudyRequest
from service.search.optuna_records import Direction
from service.storage.tables import JobRow, StudyRow

__all__ = ["Bound", "Goal", "direction_of", "goal_of", "guide_of_pruned", "request_of", "result_of"]

_REQUESTS: WeakKeyDictionary[StudyRow, StudyRequest] = WeakKeyDictionary()
_EXACT = 1e-9
"""What rounding may add: 0.9 − 0.89 is a little more than 0.01."""
_OF_THE_DENSE: Mapping[Metric, float] = {"kl": 0.0, "features": 0.0, "outputs": 0.0}
"""Distances from the dense network, which has none from itself."""


@dataclass(frozen=True)
class Bound:
    """Something measured, and the most that it may be."""

    word: str
    got: float
    most: float
    unit: str

    @property
    def excess(self) -> float:
        """Above 0 where it is not kept."""
        return self.got - self.most

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.excess <= _EXACT

    def __str__(self) -> str:
        return f"{self.word} {self.got:.4g} {self.unit} (at most {self.most:.4g})"


@dataclass(frozen=True)
class Goal:
    """What a study is after.

    Args:
        request: of the study.
        metric: of the study.
        latency_limit: in milliseconds, by the profile's latency of the dense network.
        dense_value: of the baseline, once it is measured.
    """

    request: StudyRequest
    metric: Metric
    latency_limit: float | None
    dense_value: float | None

    @property
    def directions(self) -> list[Direction]:
        """One for each objective, in the request's order."""
        return [direction_of(self.metric) if word == "proxy" else "minimize" for word in self.request.objectives]

    def values(self, result: TrialResult) -> dict[Objective, float]:
        """By objective, in the request's order."""
        latency = None if result.latency is None else result.latency.latency_ms
        every: dict[Objective, float | None] = {
            "proxy": result.value,
            "macs": result.cost.macs,
            "params": result.cost.params,
            "latency_ms": latency,
        }
        found = {word: every[word] for word in self.request.objectives}
        return {word: float("inf") if value is None else float(value) for word, value in found.items()}

    def losses(self, result: TrialResult) -> tuple[float, ...]:
        """The objectives' values, in the request's order and so that less is better."""
        return tuple(self.loss(result.value) if word == "proxy" else v for word, v in self.values(result).items())

    def order(self, result: TrialResult, number: int) -> tuple[float, ...]:
        """What trials are sorted by, the best first: the proxy where it is an objective, else the first cost.

        Ties go to the other objectives, then to the better proxy, then to the earlier trial.
        """
        losses = dict(zip(self.request.objectives, self.losses(result), strict=True))
        proxy = [losses.pop("proxy")] if "proxy" in losses else []
        return (*proxy, *losses.values(), self.loss(result.value), number)

    def drop(self, result: TrialResult) -> float | None:
        """See :meth:`drop_of`."""
        return self.drop_of(result.value, result.dense_value)

    def drop_of(self, value: float, dense_value: float | None) -> float | None:
        """How much of the metric is lost against the dense network; None where that one's is not known.

        Args:
            value: of the compressed network.
            dense_value: of the dense one on the same images; where None, the baseline's on all images stands for it.
        """
        dense = _OF_THE_DENSE.get(self.metric, self.dense_value) if dense_value is None else dense_value
        return None if dense is None else self.loss(value) - self.loss(dense)

    def guide(self, result: TrialResult) -> float:
        """The statistic that the search follows: smaller is better, 0 is the dense network.

        Divergence tells candidates apart better than accuracy, so it stands for that where it was measured.
        """
        if self.metric == "accuracy" and result.kl is not None:
            return result.kl
        if self.metric in _OF_THE_DENSE:
            return result.value
        drop = self.drop(result)
        return self.loss(result.value) if drop is None else drop

    def lacks(self, result: TrialResult) -> str | None:
        """What a measurement should have told and did not; None where it is complete."""
        if self.request.measures_latency and result.latency is None:
            return "the worker did not measure the latency that this study is about"
        if self.request.max_drop is not None and self.drop(result) is None:
            return "the worker did not measure the dense network on the same images"
        return None

    def bounds(self, result: TrialResult) -> list[Bound]:
        """The bounds that can be checked against ``result``."""
        bounds = []
        latency, asked = result.latency, self.request.constraints
        if asked.latency_ms is not None and latency is not None:
            dense = latency.dense_latency_ms
            limit = self.latency_limit if dense is None else asked.latency_limit(dense)
            bounds.append(Bound("latency_ms", latency.latency_ms, limit or 0.0, "ms"))
        drop, most = self.drop(result), self.request.max_drop
        if most is not None and drop is not None:
            unit = f"of {self.metric}" if self.metric == "accuracy" else f"more {self.metric}"
            bounds.append(Bound("drop", drop, most, unit))
        return bounds

    def feasible(self, result: TrialResult) -> bool | None:
        """Whether the bounds are kept; None where nothing is bounded that is measured."""
        bounds = self.bounds(result)
        return all(bound.kept for bound in bounds) if bounds else None

    def distance(self, result: TrialResult) -> float:
        """How far from feasible, as a share of the bounds; 0 where they are kept."""
        return sum(max(0.0, bound.excess) / max(bound.most, _EXACT) for bound in self.bounds(result))

    def attains(self, result: TrialResult, target: float) -> bool:
        """Whether the metric is at least as good as ``target``."""
        return self.loss(result.value) <= self.loss(target)

    def loss(self, value: float) -> float:
        """The metric, so that less is better."""
        return -value if self.metric == "accuracy" else value


def direction_of(metric: str) -> Direction:
    """Optuna's word for what is better."""
    return "maximize" if metric == "accuracy" else "minimize"


def request_of(study: StudyRow) -> StudyRequest:
    """What was asked for, which never changes: it is read once for each row that a session holds."""
    request = _REQUESTS.get(study)
    if request is None:
        request = _REQUESTS[study] = StudyRequest.model_validate(study.request)
    return request


def goal_of(study: StudyRow) -> Goal:
    """What a study is after."""
    request = request_of(study)
    dense = None if study.dense_result is None else float(study.dense_result["value"])
    metric: Metric = study.metric  # type: ignore[assignment]  # stored as one of them
    return Goal(request, metric, study.limits.get("latency_ms"), dense)


def result_of(job: JobRow) -> TrialResult:
    """What was measured; the job must be done or pruned."""
    return TrialResult.model_validate(job.result)


def guide_of_pruned(
    seen: Sequence[float] | None, best: Sequence[float] | None, best_guide: float | None
) -> float | None:
    """The guide of a trial that saw only its first batches: the best's, and how much worse it was on those.

    Batches differ more than trials do; the difference on the same batches does not.

    Args:
        seen: the trial's measurements, batch by batch.
        best: those of the best trial, at least as many.
        best_guide: of the best trial.

    Returns:
        None where there is nothing to compare.
    """
    if not seen or not best or best_guide is None:
        return None
    return best_guide + fmean(mine - its for mine, its in zip(seen, best, strict=False))
