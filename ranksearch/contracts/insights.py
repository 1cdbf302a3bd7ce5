"""What a study shows of its search: columns over its trials, where its ranks were, what its layers are worth.

Columns have one entry a trial, or one a layer, and not an object each: a study may have 10,000 trials of 200 layers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ranksearch.contracts.base import Resource
from ranksearch.contracts.goals import CostWord, Metric, Objective
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.studies import TrialOrigin, TrialState

__all__ = [
    "FinalValue",
    "History",
    "Importance",
    "LayerImportance",
    "LayerSensitivity",
    "Period",
    "RankMap",
    "Sensitivity",
    "SensitivityPoint",
    "StartValue",
    "TrialShares",
    "TrialSort",
]

TrialSort = Literal["number", "value", "macs", "params", "seconds"]
"""What trials are listed by: ``value`` is the metric, ``seconds`` from a trial's first claim to its end."""


class StartValue(Resource):
    """A trial whose ranks were computed beforehand, to compare the search with."""

    trial: int
    origin: TrialOrigin
    value: float


class FinalValue(Resource):
    """A finalist's metric on all images."""

    trial: int
    value: float


class History(Resource):
    """``GET /v1/studies/{id}/history``: what every trial gave, in columns that ascend in ``numbers``.

    With more trials than were asked for, those between are left out that a chart would not show: of every stretch of
    trials the least and the greatest value stay, and whatever the other members name.
    """

    study: str
    metric: Metric
    objectives: list[Objective]
    last_event: int = Field(description="of the study when this was read: `events?after=` this tells what came later")
    trials: int = Field(description="planned so far, with those left out")
    numbers: list[int]
    states: list[TrialState]
    values: list[float | None] = Field(description="the metric; of a pruned trial on the images that it saw")
    macs: list[int]
    params: list[int]
    latencies: list[float | None] | None = Field(default=None, description="ms; None where the study measures none")
    infeasible: list[int] = Field(description="numbers of complete trials outside the measured bounds")
    improvements: list[int] = Field(description="numbers of the trials that were better than all before them")
    fronts: dict[CostWord, list[int]] = Field(
        description="per cost, numbers of the trials that no other beats in that cost and the metric, cheapest first"
    )
    starts: list[StartValue]
    finals: list[FinalValue]
    dense_value: float | None = Field(description="the dense network's metric")


class Period(Resource):
    """A stretch of a study's trials, and how often each layer was given how much of its macs."""

    first: int = Field(description="number of its first trial")
    last: int
    counts: list[list[int]] = Field(description="of every layer, how many trials in each bin")


class TrialShares(Resource):
    """One trial's layers: which share of its dense macs each keeps."""

    trial: int
    shares: list[float]


class RankMap(Resource):
    """``GET /v1/studies/{id}/rank-map``: where the ranks were that the search tried, layer by layer.

    A layer's rank stands here as the share of its dense macs that remains, which compares layers and methods; the bins
    divide 0 to 1 evenly, and a layer that stays dense is in the last one.
    """

    study: str
    last_event: int
    trials: int
    layers: list[str] = Field(description="those that are searched, in forward order")
    dense_macs: list[int] = Field(description="of each of them")
    other_macs: int = Field(description="of everything else, which no trial changes")
    bins: int
    periods: list[Period] = Field(description="equally many trials each, the earliest first")
    best: TrialShares | None
    front: list[TrialShares] = Field(description="trials that no other beats in macs and metric, at most 12 of them")


class LayerImportance(Resource):
    """How much one layer's error matters; see :class:`Importance`."""

    name: str
    importance: float
    spread: float | None = Field(description="standard deviation of the estimate; None where there is none")
    prior: float | None = Field(default=None, description="what was assumed before any trial")
    loss: float | None = Field(default=None, description="what its error costs in the best trial, of the guide")


class Importance(Resource):
    """``GET /v1/studies/{id}/importance``: which layers' errors cost the network most, as far as the trials tell.

    ``error_model``: what a squared relative error of 1 in this layer would cost the guide (the statistic that the
    search follows: 0 is the dense network), by a Bayesian linear model of the trials, which holds near the
    best one. ``rank_correlation``: where the study uses another sampler, Spearman's correlation, over the trials, of
    the layer's relative error with the guide.
    """

    study: str
    last_event: int
    measure: Literal["error_model", "rank_correlation"]
    trials: int = Field(description="that it was learned from; 0: nothing is known yet")
    layers: list[LayerImportance] = Field(description="those that are searched, in forward order; empty for 0 trials")


class SensitivityPoint(Resource):
    """One layer alone, at some ranks."""

    ranks: LayerRanks
    macs_fraction: float = Field(description="of the layer's dense macs")
    change: float = Field(description="how far the outputs move, by the table's measure, everything else being dense")


class LayerSensitivity(Resource):
    """One layer at each of its ranks, ascending in macs."""

    name: str
    points: list[SensitivityPoint]


class Sensitivity(Resource):
    """``GET /v1/studies/{id}/sensitivity``: how far each layer alone moves the network's outputs, to first order.

    It is estimated for studies with a ``greedy`` warm start.
    """

    study: str
    state: Literal["not_asked_for", "pending", "measured", "failed"]
    measure: Literal["logits", "outputs"] = Field(
        default="logits",
        description="logits: the sum over the classes of the squared changes of the centred scores, a mean over the"
        " images; outputs: the share of the outputs' variance",
    )
    layers: list[LayerSensitivity] = Field(description="empty unless it is measured")
