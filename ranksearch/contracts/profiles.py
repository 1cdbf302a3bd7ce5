"""The profile of a model: all the service knows of a network when it plans.

A worker computes it once per model. The service never opens a model: budgets, feasibility, strong allocations and
projections are all made from these tables.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ranksearch.contracts.base import Resource
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.ranks import LayerRanks, Method

__all__ = ["Cost", "GridPoint", "Latency", "ModelProfile", "Rule", "SiteProfile"]

Rule = Literal["vbmf", "energy"]
"""A rule that chooses ranks from singular values: variational Bayes, or equal energy."""


class Cost(Resource):
    """``macs``: multiply-accumulates of one forward pass, batch 1, at the profile's input shape."""

    macs: int = Field(ge=0)
    params: int = Field(ge=0)


class Latency(Resource):
    """Median time of one forward pass, and under which conditions."""

    latency_ms: float = Field(gt=0)
    dense_latency_ms: float | None = Field(
        default=None, gt=0, description="of the dense network, measured in turns with this one"
    )
    device: str
    dtype: str
    batch: int = Field(ge=1)
    backend: str = Field(description='such as "torch"')


class GridPoint(Resource):
    """One choice of ranks for one site, and what it costs."""

    ranks: LayerRanks
    macs: int = Field(ge=0)
    params: int = Field(ge=0)
    relative_error: float = Field(ge=0, description="‖Y − Ŷ‖ / ‖Y‖ of the weight")
    latency_ms: float | None = Field(default=None, ge=0, description="of the layer alone, on the inspecting worker")


class SiteProfile(Resource):
    """One layer that has weights to factorise, or the reason why it stays dense."""

    name: str
    kind: str
    weight_shape: list[int]
    macs: int = Field(ge=0, description="of the dense layer")
    params: int = Field(ge=0)
    latency_ms: float | None = Field(default=None, ge=0, description="of the dense layer alone, likewise")
    reason_dense: str | None = None
    rules: dict[Rule, list[int]] = Field(
        default_factory=dict,
        description="per rule, the macs of the ranks that it chooses at each step of its parameter, from the fewest to"
        " the most; as many steps for every site. Where a method has no such rule (CP), it is given the macs that"
        " Tucker-2, or for matrices SVD, needs",
    )
    grids: dict[Method, list[GridPoint]] = Field(
        default_factory=dict,
        description="per method, ascending in macs, every point strictly cheaper than the dense layer",
    )


class ModelProfile(Resource):
    """Every site of a model, in forward order, and the cost of the whole dense network."""

    format: Literal["ranksearch.profile/1"] = "ranksearch.profile/1"
    dense: Cost
    sites: list[SiteProfile]
    input_shapes: list[list[int]] = Field(description="without the batch dimension")
    output_shapes: list[list[int]] = Field(description="without the batch dimension, flattened in order")
    inputs: list[TensorSpec] = Field(default=[], description="with names and types; empty in profiles of before")
    outputs: list[TensorSpec] = Field(default=[], description="likewise, in the order of output_shapes")
    latency: Latency | None = Field(default=None, description="of the whole dense network, on the inspecting worker")
    solver: str = Field(description="how the factors behind relative_error were computed")
    seconds: float = Field(ge=0, description="what the inspection took on its worker")

    @property
    def input_specs(self) -> list[TensorSpec]:
        """The inputs; where only their shapes are known, of floats."""
        return self.inputs or [TensorSpec(shape=tuple(shape), dtype="float32") for shape in self.input_shapes]

    @property
    def output_specs(self) -> list[TensorSpec]:
        """The outputs, likewise."""
        return self.outputs or [TensorSpec(shape=tuple(shape), dtype="float32") for shape in self.output_shapes]
