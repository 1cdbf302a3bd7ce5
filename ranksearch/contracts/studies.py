"""Studies and their trials: what is asked for, how it goes, what came out."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from ranksearch.contracts.base import Name, Request, Resource, Timestamp
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.ranks import Method, RankVector
from ranksearch.contracts.resources import Problem

__all__ = [
    "Best",
    "Constraints",
    "CostShare",
    "DataSlice",
    "Event",
    "EventKind",
    "LayerChoice",
    "Metric",
    "Progress",
    "Seconds",
    "Study",
    "StudyRequest",
    "StudyState",
    "Trial",
    "TrialOrigin",
    "TrialResult",
    "TrialState",
]

Metric = Literal["accuracy", "kl"]
StudyState = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]
TrialState = Literal["WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"]
"""Optuna's own words. WAITING: handed back, and to be claimed again. FAIL: also when its study was cancelled."""
TrialOrigin = Literal["uniform", "equal_error", "sampler"]
"""Where a trial's ranks came from: a strong allocation computed from the profile, or the sampler."""

_PERCENT = re.compile(r"^(\d{1,3}(?:\.\d{1,6})?)\s*%$")


def percentage(bound: str) -> float:
    """``"33%"`` → 0.33.

    Raises:
        ValueError: not a percentage above 0 and at most 100.
    """
    match = _PERCENT.match(bound)
    if match is None or not 0 < float(match[1]) <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f'{bound!r} is neither a number nor a percentage of the original such as "33%"')
    return float(match[1]) / 100


def _checked_percentage(bound: str) -> str:
    percentage(bound)
    return bound


Bound = Annotated[int, Field(gt=0)] | Annotated[str, AfterValidator(_checked_percentage)]
"""An upper bound: absolute, or per cent of the dense network's."""


class Constraints(Request):
    """Upper bounds on the whole network, all of which hold for every trial."""

    macs: Bound | None = None
    params: Bound | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Constraints:
        if self.macs is None and self.params is None:
            raise ValueError('give at least one bound, such as {"macs": "33%"}')
        return self

    def limits(self, dense: Cost) -> dict[str, int]:
        """The bounds in absolute numbers: the largest cost that is still allowed, per cost word."""
        bounds = {"macs": (self.macs, dense.macs), "params": (self.params, dense.params)}
        return {
            word: int(percentage(bound) * whole) if isinstance(bound, str) else bound
            for word, (bound, whole) in bounds.items()
            if bound is not None
        }


class DataSlice(Request):
    """Images ``start`` (included) to ``stop`` (excluded; None: to the end) of a data set."""

    dataset: str
    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _holds_something(self) -> DataSlice:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop ({self.stop}) must be above start ({self.start})")
        return self


class StudyRequest(Request):
    """``POST /v1/studies``."""

    model: str
    calibration: DataSlice
    validation: DataSlice
    constraints: Constraints
    name: Name | None = None
    methods: list[Method] = Field(
        default=["cp3", "svd"],
        min_length=1,
        description="the search chooses each layer's method among these, as far as the layer has a rank grid for them;"
        " in order of preference: the first trial takes the first. Any layer may also stay dense, with or without"
        ' "dense" among them',
    )
    keep_dense: list[str] = Field(
        default=[], max_length=10_000, description="qualified names of layers that are not to be factorised"
    )
    metric: Metric | None = Field(
        default=None, description="None: accuracy where the validation images have labels, else kl"
    )
    n_trials: int = Field(default=100, ge=1, le=100_000)
    n_startup_trials: int = Field(
        default=10, ge=0, description="trials drawn around the better strong allocation before TPE is asked"
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_size: int = Field(
        default=64, ge=1, le=65_536, description="images a forward pass; fastest at 64 on the CPUs measured"
    )


class Progress(Resource):
    """How many of a study's trials are in which state.

    Trials that were never planned when their study ended count nowhere: then the counts add up to less than
    ``n_trials``.
    """

    n_trials: int
    complete: int
    failed: int
    running: int
    waiting: int

    @property
    def finished(self) -> int:
        """Trials that will not change any more."""
        return self.complete + self.failed


class Seconds(Resource):
    """Where a trial's time went on its worker, in seconds."""

    decomposition: float = Field(default=0, ge=0, description="factors that the cache lacked")
    assembly: float = Field(default=0, ge=0)
    calibration: float = Field(default=0, ge=0)
    validation: float = Field(default=0, ge=0)
    total: float = Field(default=0, ge=0)


class TrialResult(Resource):
    """What an evaluation measured. ``value`` is the study's metric."""

    value: float = Field(allow_inf_nan=False)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    kl: float | None = Field(default=None, description="nats an image, dense to compressed")
    loss: float | None = Field(default=None, description="cross-entropy in nats an image")
    images: int = Field(ge=1, description="validation images it was measured on")
    cost: Cost
    seconds: Seconds
    device: str


class Trial(Resource):
    """One rank vector and what came of it. It has a number, and is listed, once its ranks are planned."""

    number: int
    state: TrialState
    origin: TrialOrigin | None = None
    ranks: RankVector | None = None
    planned: Cost | None = Field(default=None, description="cost by the profile; never above the budget")
    value: float | None = None
    result: TrialResult | None = None
    error: Problem | None = None
    attempts: int = 0
    worker: str | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class CostShare(Resource):
    """One cost, dense against compressed."""

    dense: int
    compressed: int
    fraction: float = Field(description="what remains, at most 1")
    compression_ratio: float = Field(description="dense / compressed")


class LayerChoice(Resource):
    """One layer in the answer: its ranks and its share of the cost, or why it stays dense."""

    name: str
    kind: str
    choice: dict[str, Any] = Field(description='as in a rank vector: {"method": …, "rank": …}')
    reason_dense: str | None = None
    dense: Cost
    compressed: Cost
    relative_error: float | None = None


class Best(Resource):
    """``GET /v1/studies/{id}/best``: the best trial so far."""

    study: str
    state: StudyState
    trial: int
    origin: TrialOrigin
    metric: Metric
    value: float
    dense_value: float | None = Field(description="the metric of the dense network on the same images")
    result: TrialResult
    dense_result: TrialResult | None = None
    macs: CostShare
    params: CostShare
    ranks: RankVector = Field(description="what proxy.compress takes; layers that stay dense are left out")
    layers: list[LayerChoice]


class Study(Resource):
    """A study and its state; ``waiting_for`` says why nothing moves when nothing moves."""

    id: str
    name: Name
    state: StudyState
    reason: str | None = Field(default=None, description="why it failed or was cancelled")
    error: Problem | None = None
    waiting_for: str | None = None
    request: StudyRequest
    metric: Metric
    limits: dict[str, int] = Field(description="the constraints in absolute numbers")
    dense: Cost
    progress: Progress
    best_value: float | None = None
    best_trial: int | None = None
    dense_value: float | None = None
    optuna_study: str = Field(description="the name under which Optuna's own tools find it")
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


EventKind = Literal["study", "baseline", "trial", "artifact"]


class Event(Resource):
    """One server-sent event: ``id`` for ``Last-Event-ID``, ``event`` the kind, ``data`` this as JSON."""

    id: int
    kind: EventKind
    study: str
    created_at: Timestamp
    data: dict[str, Any] = Field(description="the study, trial or artifact as its own endpoint answers it")
