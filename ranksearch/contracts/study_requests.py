"""What is asked for when a study is submitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ranksearch.contracts.base import Name, Request
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.finetuning import FineTuneOption
from ranksearch.contracts.goals import (
    Constraints,
    Level,
    Metric,
    Objective,
    Pruner,
    Sampler,
    SearchImages,
    WarmStart,
)
from ranksearch.contracts.ranks import Method

__all__ = ["DataSlice", "Requirements", "StudyRequest"]


class Requirements(Request):
    """What a worker must have to be given the study's jobs."""

    device: Literal["cpu", "cuda"] | None = Field(default=None, description="kind of device; None: any")
    memory_bytes: int | None = Field(default=None, ge=1, lt=2**62, description="of the device, at least")
    labels: dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=200)]] = Field(
        default={}, max_length=50, description="that the worker was started with"
    )


class StudyRequest(Request):
    """``POST /v1/studies``.

    Three kinds of study, by ``objectives``: ``["proxy"]``, the best proxy within the constraints; one cost, such as
    ``["macs"]``, the least of it that loses at most ``max_drop``; several, a Pareto front.
    """

    model: str
    calibration: DataSlice
    validation: DataSlice
    constraints: Constraints = Field(default_factory=Constraints)
    objectives: list[Objective] = Field(default=["proxy"], min_length=1, max_length=4)
    max_drop: float | None = Field(
        default=None,
        ge=0,
        description="how much of the metric the smallest network may lose against the dense one on the same images:"
        " 0.01 is one point of accuracy; nats for kl and loss; of outputs, a share of their variance",
    )
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
        default=None,
        description="what a trial is judged by. None: kl, which needs no labels and tells candidates apart best;"
        " for the least cost within max_drop: accuracy where the validation images have labels. For a model that is no"
        " classifier of one output: outputs",
    )
    level: Level = Field(default="reconstruction", description="how trials and the compressed model are calibrated")
    sampler: Sampler = "auto"
    pruner: Pruner = Field(default="wilcoxon", description="stops a trial that is significantly worse than the best")
    warm_starts: list[WarmStart] = Field(default=["uniform", "equal_error", "greedy"], max_length=5)
    from_studies: list[str] = Field(
        default=[], max_length=16, description="earlier studies of the same model, whose trials the search learns from"
    )
    search_images: SearchImages = Field(default_factory=SearchImages)
    finalists: int = Field(
        default=5,
        ge=0,
        le=100,
        description="best trials, the best warm start among them, that are measured again, on all images",
    )
    finetune: FineTuneOption | None = Field(
        default=None, description="what is fine-tuned once the search is complete; None: nothing"
    )
    n_trials: int = Field(default=100, ge=1, le=100_000)
    n_startup_trials: int = Field(
        default=10,
        ge=0,
        description="trials drawn around the best warm start before tpe is asked; the others ask from the first on",
    )
    timeout: float | None = Field(default=None, gt=0, description="seconds from the first claim to the last new trial")
    plateau: int | None = Field(default=None, ge=1, description="end after so many trials without a better one")
    target: float | None = Field(
        default=None, allow_inf_nan=False, description="end once a trial's metric is at least as good as this"
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="among the studies of one user: larger goes first, ties by age"
    )
    max_parallel: int | None = Field(default=None, ge=1, description="trials that run at once, at most")
    requirements: Requirements = Field(default_factory=Requirements)
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_size: int = Field(
        default=64, ge=1, le=65_536, description="images a forward pass; fastest at 64 on the CPUs measured"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> StudyRequest:
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives {self.objectives} names one of them twice")
        if len(self.objectives) > 1 and "proxy" not in self.objectives:
            raise ValueError(f"objectives {self.objectives} lacks proxy: of costs alone the cheapest network is best")
        if self.smallest and self.max_drop is None:
            raise ValueError(f"objectives {self.objectives} needs max_drop: how much of the metric may be lost for it")
        if not self.smallest and self.max_drop is not None:
            raise ValueError('max_drop belongs to one cost as the only objective, such as objectives ["macs"]')
        if self.objectives == ["proxy"] and not self.constraints.given:
            raise ValueError(
                'the proxy alone needs constraints, such as {"macs": "33%"}: the dense network is its best'
            )
        return self

    @property
    def smallest(self) -> bool:
        """Whether the least cost within ``max_drop`` is searched for."""
        return len(self.objectives) == 1 and self.objectives[0] != "proxy"

    @property
    def needs_sensitivity(self) -> bool:
        """Whether it is estimated how far each layer alone moves the outputs: for studies with a ``greedy`` start."""
        return "greedy" in self.warm_starts

    @property
    def measures_latency(self) -> bool:
        """Whether every trial's latency is measured."""
        return self.constraints.latency_ms is not None or "latency_ms" in self.objectives
