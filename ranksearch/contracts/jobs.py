"""Jobs: what a worker claims, does and hands back. A job is done under a lease, fenced by the lease's token."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ranksearch.contracts.artifacts import ParityReport
from ranksearch.contracts.base import Name, Request, Resource, Sha256, Timestamp
from ranksearch.contracts.finetuning import Recipe, TuningScore
from ranksearch.contracts.goals import Level, Metric
from ranksearch.contracts.latency import LatencyReport, LatencyRuntime
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import LayerRanks, RankVector
from ranksearch.contracts.resources import Blob, Problem, SandboxMeasure
from ranksearch.contracts.studies import TrialResult

__all__ = [
    "DRAIN_HEADER",
    "BaselineTask",
    "ClaimRequest",
    "CompleteRequest",
    "CompressOutcome",
    "CompressTask",
    "DataSelection",
    "ExportFormat",
    "ExportOutcome",
    "ExportTask",
    "FailRequest",
    "FineTuneOutcome",
    "FineTuneTask",
    "InspectOutcome",
    "InspectTask",
    "Job",
    "LatencyOutcome",
    "LatencyTask",
    "Lease",
    "LeaseRequest",
    "OnnxTranslation",
    "Outcome",
    "Race",
    "SensitivityMeasure",
    "SensitivityOutcome",
    "SensitivityTask",
    "Task",
    "TrialOutcome",
    "TrialTask",
]


DRAIN_HEADER = "Ranksearch-Drain"
"""On the answer to a claim: the worker is draining, and gets no job until it is undrained."""


class DataSelection(Resource):
    """Images ``start`` to ``stop`` (excluded) of a data set document."""

    blob: Blob
    start: int = Field(ge=0)
    stop: int = Field(ge=1)


class InspectTask(Resource):
    """Compute a model's profile. The factors behind its grids land in the worker's factor cache.

    Of an ONNX file a model document is made first, uploaded as a blob, and inspected.
    """

    kind: Literal["inspect"] = "inspect"
    model: Blob
    format: Literal["document", "onnx"] = Field(default="document", description="what the model's blob is")


class BaselineTask(Resource):
    """Measure the dense network on the validation images: the reference every trial is compared with."""

    kind: Literal["baseline"] = "baseline"
    model: Blob
    validation: DataSelection
    metric: Metric
    batch_size: int
    measure_latency: bool = False


SensitivityMeasure = Literal["logits", "outputs"]
"""What is moved: class scores, by squares of centred changes; or any outputs, in shares of their variances."""


class SensitivityTask(Resource):
    """Estimate how far each layer alone, factorised, moves the network's outputs: the independent table.

    To first order, on the calibration images alone; the layer's last factor is refitted, whatever trials do.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    model: Blob
    choices: dict[str, list[LayerRanks]] = Field(description="layer → what to try, one at a time")
    calibration: DataSelection
    batch_size: int
    seed: int
    measure: SensitivityMeasure = "logits"


class Race(Resource):
    """What a trial must keep up with: the best trial's measurements, batch by batch."""

    batch_values: list[float] = Field(description="as in TrialResult, of the best trial so far")
    p_value: float = Field(gt=0, lt=1, description="of the one-sided Wilcoxon signed-rank test, below which it stops")


class TrialTask(Resource):
    """Compress at these ranks, calibrate, measure; also for finalists, on more images."""

    kind: Literal["trial"] = "trial"
    model: Blob
    ranks: RankVector
    calibration: DataSelection
    validation: DataSelection
    metric: Metric
    batch_size: int
    seed: int
    level: Level = "reconstruction"
    sweeps: int = Field(default=0, ge=0, description="of the calibration over all layers of a chain")
    race: Race | None = None
    measure_latency: bool = False


class CompressTask(Resource):
    """Compress at these ranks, calibrate, upload the model document as a blob, and say how true it is."""

    kind: Literal["compress"] = "compress"
    model: Blob
    ranks: RankVector
    calibration: DataSelection
    validation: DataSelection = Field(description="the images on which the document is compared with the network")
    batch_size: int
    seed: int
    level: Level = "reconstruction"
    sweeps: int = Field(default=0, ge=0, description="of the calibration over all layers of a chain")


ExportFormat = Literal["pt2", "onnx"]
"""What is made from a model document."""


class ExportTask(Resource):
    """Write a model document in another format, upload that as a blob, and say how true it is."""

    kind: Literal["export"] = "export"
    model: Blob = Field(description="the model document")
    format: ExportFormat
    validation: DataSelection = Field(description="the images on which both are compared")
    batch_size: int


class FineTuneTask(Resource):
    """Train a trial's calibrated network, upload its model document as a blob, and say what became of it.

    How far it is is told all the while (:class:`~ranksearch.contracts.finetuning.ProgressRequest`).
    """

    kind: Literal["finetune"] = "finetune"
    model: Blob = Field(description="the dense network")
    document: Blob = Field(description="the compressed and calibrated one, where the training begins")
    training: DataSelection
    validation: DataSelection
    recipe: Recipe
    batch_size: int = Field(description="images a forward pass that measures")
    checkpoint: Blob | None = Field(default=None, description="where to go on")
    checkpoint_seconds: float = Field(default=60, ge=0, description="between two checkpoints, at least")


class LatencyTask(Resource):
    """Compress at these ranks, calibrate, and time that network in turns with the dense one."""

    kind: Literal["latency"] = "latency"
    model: Blob
    ranks: RankVector
    calibration: DataSelection
    batch_size: int = Field(description="of the calibration")
    seed: int
    level: Level = "reconstruction"
    sweeps: int = Field(default=0, ge=0, description="of the calibration over all layers of a chain")
    batches: list[int] = Field(description="images a pass, ascending")
    runtimes: list[LatencyRuntime]


Task = Annotated[
    InspectTask | BaselineTask | SensitivityTask | TrialTask | CompressTask | ExportTask | FineTuneTask | LatencyTask,
    Field(discriminator="kind"),
]


class Lease(Resource):
    """The right to complete a job. Renew it before it expires; after that another worker may get the job."""

    token: str
    seconds: float = Field(gt=0, description="how long from now, whatever the worker's clock says")
    expires_at: Timestamp
    draining: bool = Field(default=False, description="the worker is to take no further job")


class Job(Resource):
    """A claimed job."""

    id: str
    task: Task
    attempt: int = Field(ge=1)
    lease: Lease
    study: str | None = None
    trial: int | None = None


class ClaimRequest(Request):
    """``POST /v1/jobs/claim``: 200 with a :class:`Job`, or 204 after ``wait_seconds`` without one.

    To a worker that is draining it is 204 at once, with the header ``Ranksearch-Drain: 1``.
    """

    worker: Annotated[str, Field(min_length=1, max_length=100, description="stable while the agent runs")]
    name: Name
    device: Annotated[str, Field(max_length=200)]
    version: Annotated[str, Field(max_length=50)]
    wait_seconds: float = Field(default=0, ge=0, le=60)
    labels: dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=200)]] = Field(
        default={}, max_length=50, description="what studies may require, such as site: berlin"
    )
    memory_bytes: int | None = Field(default=None, ge=0, description="of the device; None: not known")
    holds: list[Sha256] = Field(
        default=[], max_length=64, description="models in its memory: a job of one of them is given first"
    )
    sandbox: list[SandboxMeasure] = Field(default=[], max_length=50, description="what confines its evaluations")


class LeaseRequest(Request):
    """``POST /v1/jobs/{id}/renew`` (answers a :class:`Lease`) and ``/release`` (hands the job back, 204)."""

    lease_token: str


class OnnxTranslation(Request):
    """The model document that was made of an ONNX file, uploaded before (``PUT /v1/blobs/{sha256}``)."""

    sha256: Sha256
    opset: int = Field(ge=1, le=1000, description="version of the file's operators")
    producer: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="what wrote the file")]
    max_relative_difference: float = Field(
        ge=0, description="between the document's outputs and ONNX Runtime's of the file, as a share of their range"
    )


class InspectOutcome(Request):
    """The profile, and, where the model was an ONNX file, the document that the profile is of."""

    kind: Literal["inspect"] = "inspect"
    profile: ModelProfile
    translation: OnnxTranslation | None = None


class TrialOutcome(Request):
    """Of a trial (also as a finalist) or a baseline. ``pruned``: it lost the race, and saw only its first batches."""

    kind: Literal["trial", "baseline"]
    result: TrialResult
    pruned: bool = False


class SensitivityOutcome(Request):
    """Layer → the change, by the task's measure, at each of its choices, in their order."""

    kind: Literal["sensitivity"] = "sensitivity"
    change: dict[str, list[float]]


class CompressOutcome(Request):
    """The compressed model document's blob, uploaded before (``PUT /v1/blobs/{sha256}``)."""

    kind: Literal["compress"] = "compress"
    sha256: Sha256
    parity: ParityReport


class ExportOutcome(Request):
    """The blob of the file in the other format, uploaded before."""

    kind: Literal["export"] = "export"
    sha256: Sha256
    parity: ParityReport


class FineTuneOutcome(Request):
    """The fine-tuned model document's blob, uploaded before, and the network on the validation images."""

    kind: Literal["finetune"] = "finetune"
    sha256: Sha256
    parity: ParityReport
    before: TuningScore
    after: TuningScore
    dense: TuningScore


class LatencyOutcome(Request):
    """What was measured."""

    kind: Literal["latency"] = "latency"
    report: LatencyReport


Outcome = Annotated[
    InspectOutcome
    | TrialOutcome
    | SensitivityOutcome
    | CompressOutcome
    | ExportOutcome
    | FineTuneOutcome
    | LatencyOutcome,
    Field(discriminator="kind"),
]


class CompleteRequest(Request):
    """``POST /v1/jobs/{id}/complete``: 204, or 409 ``lease_lost``. The same call again answers the same."""

    lease_token: str
    outcome: Outcome


class FailRequest(Request):
    """``POST /v1/jobs/{id}/fail``: the job gave no result; ``retry`` asks for another attempt."""

    lease_token: str
    problem: Problem
    retry: bool = False
