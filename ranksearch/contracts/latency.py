"""Latency reports: the dense network against the compressed one, measured in turns on the worker that took the job."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import ConfigDict, Field, computed_field, field_validator

from ranksearch.contracts.artifacts import ArtifactState
from ranksearch.contracts.base import Request, Resource, Timestamp
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.studies import CostShare

__all__ = [
    "ALIKE_WITHIN",
    "LatencyComparison",
    "LatencyReport",
    "LatencyRequest",
    "LatencyRow",
    "LatencyRuntime",
    "LayerLatency",
    "LayerTime",
    "Layout",
    "Measured",
    "Speed",
    "Timing",
]

LatencyRuntime = Literal["torch", "torch_compile", "onnxruntime"]
"""Torch as it is, torch with ``torch.compile``, ONNX Runtime on the CPU."""
Layout = Literal["contiguous", "channels_last"]
"""Of images in memory: ``(N, C, H, W)`` as it stands, or with the channels side by side."""
Speed = Literal["faster", "slower", "alike"]
"""What is known of the compressed form against the dense one; alike: they could not be told apart."""

ALIKE_WITHIN: Final = 0.02
"""Speeds that differ by less are called alike, however well they were measured."""

_MOST_BATCHES: Final = 4
_LARGEST_BATCH: Final = 1024
Batch = Annotated[int, Field(ge=1, le=_LARGEST_BATCH)]


class _Finite(Resource):
    """No number in it is infinite or missing."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Timing(_Finite):
    """How long one pass takes: of blocks of passes, each a mean, taken in turns with what it is compared with."""

    median_ms: float = Field(gt=0)
    iqr_ms: float = Field(ge=0, description="from the first quartile to the third")
    passes: int = Field(ge=1, description="that were timed")


class Measured(_Finite):
    """Both forms, timed in turns: a round of one is compared with the round of the other beside it."""

    dense: Timing
    compressed: Timing
    speedup: float = Field(gt=0, description="dense over compressed time: the median over the rounds")
    speedup_low: float | None = Field(
        default=None, gt=0, description="95 % interval of that median, by the sign test; None: fewer than six rounds"
    )
    speedup_high: float | None = Field(default=None, gt=0)
    rounds: int = Field(ge=1)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def speed(self) -> Speed:
        """Of the compressed form: whether it is faster beyond the noise, and by enough to matter."""
        low, high = self.speedup_low, self.speedup_high
        if low is None or high is None:
            return "alike"
        if low > 1 and self.speedup > 1 + ALIKE_WITHIN:
            return "faster"
        return "slower" if high < 1 and self.speedup < 1 - ALIKE_WITHIN else "alike"


class LatencyRow(Resource):
    """The whole network in one way of running it."""

    runtime: LatencyRuntime
    device: str
    dtype: str
    batch: int = Field(ge=1)
    layout: Layout
    threads: int | None = Field(default=None, description="of the CPU; None: it runs on a device")
    measured: Measured | None = None
    why_not: str | None = Field(default=None, max_length=1000, description="where it was not measured")


class LayerTime(_Finite):
    """A layer at one batch size."""

    batch: int = Field(ge=1)
    measured: Measured

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def time_fraction(self) -> float:
        """Compressed over dense, to be read beside the fraction of the macs."""
        return 1 / self.measured.speedup


class LayerLatency(_Finite):
    """A factorised layer against the dense one that it replaces, at the input that it has in the network."""

    name: str
    choice: LayerRanks
    calls: int = Field(ge=1, description="in one forward pass; times are of one call")
    dense_macs: int = Field(ge=0, description="of all its calls, batch 1")
    macs_fraction: float = Field(ge=0, description="compressed over dense")
    times: list[LayerTime] = Field(min_length=1)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def leave_dense(self) -> bool:
        """Faster at none of the batch sizes: on this device it is better left dense."""
        return all(time.measured.speed != "faster" for time in self.times)


class LatencyReport(_Finite):
    """What a worker measured, and under which conditions."""

    device: str = Field(description="that the worker evaluates on")
    threads: int = Field(ge=1, description="of torch on the CPU")
    cores: int | None = Field(default=None, description="of the machine")
    load: float | None = Field(
        default=None, description="mean number of processes that wanted to run in the minute before; None: not known"
    )
    versions: dict[str, str] = Field(description='what ran the networks: {"torch": …, "onnxruntime": …}')
    rows: list[LatencyRow]
    layer_dtype: str
    layer_layout: Layout
    layers: list[LayerLatency] = Field(description="in forward order; layers that are dense anyway are left out")
    seconds: float = Field(ge=0, description="that measuring took")


class LatencyRequest(Request):
    """``POST /v1/studies/{id}/latency``: have the latency of a trial's network measured beside the dense one's.

    Asked for again with the same batch sizes and runtimes it is the same report; with others, or with ``again``, it is
    measured anew.
    """

    trial: int | None = Field(default=None, ge=0, lt=2**31, description="a complete trial's number; None: the best")
    batches: list[Batch] = Field(default=[1, 32], min_length=1, max_length=_MOST_BATCHES, description="images a pass")
    runtimes: list[LatencyRuntime] = Field(default=["torch", "torch_compile", "onnxruntime"], min_length=1)
    again: bool = Field(default=False, description="measure anew what was measured already")

    @field_validator("batches")
    @classmethod
    def _ascending(cls, batches: list[int]) -> list[int]:
        """The same ones in another order are the same request."""
        return sorted(set(batches))

    @field_validator("runtimes")
    @classmethod
    def _each_once(cls, runtimes: list[LatencyRuntime]) -> list[LatencyRuntime]:
        return sorted(set(runtimes), key=get_args(LatencyRuntime).index)


class LatencyComparison(Resource):
    """A trial's latency report: asked for, being measured, or there."""

    id: str
    state: ArtifactState
    trial: int
    batches: list[int]
    runtimes: list[LatencyRuntime]
    report: LatencyReport | None = Field(default=None, description="None: not measured yet")
    verdict: str | None = Field(default=None, description="what the report comes to, in words")
    leave_dense: list[str] = Field(default=[], description="layers whose factorised form is not faster there")
    worker: str | None = Field(default=None, description="that has measured it, or is about to")
    error: Problem | None = None
    macs: CostShare | None = Field(default=None, description="of the compressed network")
    finished_at: Timestamp | None = None
