"""Whether a study that somebody thinks of could be made, and what its bounds would mean."""

from __future__ import annotations

from pydantic import Field

from ranksearch.contracts.base import Resource
from ranksearch.contracts.goals import CostWord, Metric
from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.studies import TrialOrigin

__all__ = ["Allocation", "Feasibility", "LeastCost"]


class LeastCost(Resource):
    """The least that a network can cost in one word, whatever that means for the others."""

    amount: float = Field(ge=0, description="macs, params or milliseconds")
    percent: str = Field(description="of the dense network, as a bound that can be kept: no digit is lost by rounding")


class Allocation(Resource):
    """Ranks that are computed without a trial, and what they cost within the bounds."""

    origin: TrialOrigin
    cost: Cost
    macs_fraction: float = Field(ge=0, description="what remains of the dense network's")
    params_fraction: float = Field(ge=0)
    latency_ms: float | None = Field(default=None, description="the layers' sum, where the study bounds the latency")
    largest_error: float = Field(ge=0, description="the largest relative error of a layer's weights")
    factorised: int = Field(description="layers that do not stay dense")


class Feasibility(Resource):
    """``POST /v1/studies/feasibility``: what ``POST /v1/studies`` would say to the same request."""

    feasible: bool
    problem: Problem | None = Field(
        default=None, description='why it would be refused; of ``budget_infeasible`` extra has "nearest_feasible"'
    )
    metric: Metric | None = Field(default=None, description="that trials would be judged by")
    limits: dict[str, float] = Field(default={}, description="the bounds in absolute numbers")
    dense: Cost | None = None
    least: dict[CostWord, LeastCost] = Field(default={}, description="with the methods and layers of the request")
    allocations: list[Allocation] = Field(default=[], description="none without bounds, or where they cannot be kept")
