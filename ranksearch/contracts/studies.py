"""Studies and their trials: how they go, what came out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ranksearch.contracts.base import Name, Request, Resource, Timestamp
from ranksearch.contracts.finetuning import FineTune, TuningSummary
from ranksearch.contracts.goals import Metric, Objective
from ranksearch.contracts.profiles import Cost, Latency
from ranksearch.contracts.ranks import RankVector
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.study_requests import StudyRequest

__all__ = [
    "Best",
    "CostShare",
    "Event",
    "EventKind",
    "LayerChoice",
    "Pareto",
    "ParetoPoint",
    "PauseRequest",
    "Progress",
    "Seconds",
    "StopReason",
    "Study",
    "StudyState",
    "Trial",
    "TrialOrigin",
    "TrialResult",
    "TrialState",
]

StudyState = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]
TrialState = Literal["WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"]
"""Optuna's own words. WAITING: handed back, and to be claimed again. FAIL: also when its study was cancelled."""
TrialOrigin = Literal["uniform", "equal_error", "vbmf", "energy", "greedy", "transfer", "sampler"]
"""Where a trial's ranks came from: an allocation computed beforehand, the best of an earlier study, or the sampler."""
StopReason = Literal["timeout", "plateau", "target"]
"""What ended a study before all its trials were made."""


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
    pruned: int = Field(default=0, description="stopped early, being significantly worse than the best")
    dropped: int = Field(default=0, description="never made: the study had its answer before")

    @property
    def finished(self) -> int:
        """Trials that will not change any more."""
        return self.complete + self.failed + self.pruned + self.dropped


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
    dense_value: float | None = Field(
        default=None, allow_inf_nan=False, description="the dense network's metric on the very same images"
    )
    accuracy: float | None = Field(default=None, ge=0, le=1)
    kl: float | None = Field(default=None, description="nats an image, dense to compressed")
    loss: float | None = Field(default=None, description="cross-entropy in nats an image")
    features: float | None = Field(default=None, description="distance of the features' moments, see proxy.score")
    outputs: float | None = Field(
        default=None,
        description="share of the dense outputs' variance that is not explained any more, mean over outputs",
    )
    batch_values: list[float] | None = Field(
        default=None,
        max_length=100_000,
        description="of every batch, the mean that trials are raced on: kl where the metric is accuracy, else the"
        " metric; smaller is better",
    )
    latency: Latency | None = None
    images: int = Field(ge=1, description="validation images it was measured on")
    cost: Cost
    seconds: Seconds
    device: str


class Trial(Resource):
    """One rank vector and what came of it. It has a number, and is listed, once its ranks are planned.

    ``final`` is its measurement on all images, if it was among the finalists.
    """

    number: int
    state: TrialState
    origin: TrialOrigin | None = None
    ranks: RankVector | None = None
    planned: Cost | None = Field(default=None, description="cost by the profile; never above the budget")
    value: float | None = None
    feasible: bool | None = Field(default=None, description="whether it keeps the measured bounds: latency, max_drop")
    result: TrialResult | None = None
    final: TrialResult | None = None
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
    finetune: FineTune | None = Field(default=None, description="where its fine-tuned network is handed out")


class ParetoPoint(Resource):
    """A trial that no other beats in all objectives."""

    trial: int
    origin: TrialOrigin
    values: dict[Objective, float] = Field(description="by objective, in the order of the study's objectives")
    result: TrialResult
    ranks: RankVector


class Pareto(Resource):
    """``GET /v1/studies/{id}/pareto``: the front among the trials so far, by the first objective, best first."""

    study: str
    state: StudyState
    objectives: list[Objective]
    metric: Metric
    points: list[ParetoPoint]


class Study(Resource):
    """A study and its state; ``waiting_for`` says why nothing moves when nothing moves."""

    id: str
    name: Name
    owner: str | None = Field(default=None, description="name of the user who submitted it")
    project: str | None = Field(default=None, description="name of the project that it belongs to")
    state: StudyState
    reason: str | None = Field(default=None, description="why it failed, was paused or cancelled, or ended early")
    error: Problem | None = None
    waiting_for: str | None = None
    request: StudyRequest
    metric: Metric
    limits: dict[str, float] = Field(description="the constraints in absolute numbers")
    dense: Cost
    progress: Progress
    stopped_by: StopReason | None = Field(default=None, description="what ended it before all trials were made")
    best_value: float | None = None
    best_trial: int | None = None
    best_accuracy: float | None = Field(default=None, description="of the best trial, where there are labels")
    best_cost: Cost | None = Field(default=None, description="of the best trial")
    dense_value: float | None = None
    dense_accuracy: float | None = Field(default=None, description="where there are labels, whatever the metric")
    tuning: TuningSummary | None = Field(default=None, description="None: nothing was asked to be fine-tuned")
    optuna_study: str = Field(description="the name under which Optuna's own tools find it")
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    expected_at: Timestamp | None = Field(
        default=None,
        description="when its last trial will probably have ended, at the pace of the latest ones; None: nobody knows,"
        " as in events",
    )
    last_event: int | None = Field(
        default=None, description="the number of its latest event: `events?after=` this tells what happens from then on"
    )


class PauseRequest(Request):
    """``POST /v1/studies/{id}/pause``; the body may be left out."""

    reason: str | None = Field(default=None, min_length=1, max_length=1000, description="for those who wonder why")


EventKind = Literal["study", "baseline", "trial", "artifact", "finetune", "latency"]


class Event(Resource):
    """One server-sent event: ``id`` for ``Last-Event-ID``, ``event`` the kind, ``data`` this as JSON."""

    id: int
    kind: EventKind
    study: str
    created_at: Timestamp
    data: dict[str, Any] = Field(
        description="the study, trial, artifact, fine-tuning or latency report as its own endpoint answers it"
    )
