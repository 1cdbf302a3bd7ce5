"""Jobs: what a worker claims, does and hands back. A job is done under a lease, fenced by the lease's token."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ranksearch.contracts.base import Name, Request, Resource, Sha256, Timestamp
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import RankVector
from ranksearch.contracts.resources import Blob, Problem
from ranksearch.contracts.studies import Metric, TrialResult

__all__ = [
    "BaselineTask",
    "ClaimRequest",
    "CompleteRequest",
    "CompressOutcome",
    "CompressTask",
    "DataSelection",
    "FailRequest",
    "InspectOutcome",
    "InspectTask",
    "Job",
    "Lease",
    "LeaseRequest",
    "Outcome",
    "Task",
    "TrialOutcome",
    "TrialTask",
]


class DataSelection(Resource):
    """Images ``start`` to ``stop`` (excluded) of a data set document."""

    blob: Blob
    start: int = Field(ge=0)
    stop: int = Field(ge=1)


class InspectTask(Resource):
    """Compute a model's profile. The factors behind its grids land in the worker's factor cache."""

    kind: Literal["inspect"] = "inspect"
    model: Blob


class BaselineTask(Resource):
    """Measure the dense network on the validation images: the reference every trial is compared with."""

    kind: Literal["baseline"] = "baseline"
    model: Blob
    validation: DataSelection
    metric: Metric
    batch_size: int


class TrialTask(Resource):
    """Compress at these ranks, re-estimate the feature statistics, measure."""

    kind: Literal["trial"] = "trial"
    model: Blob
    ranks: RankVector
    calibration: DataSelection
    validation: DataSelection
    metric: Metric
    batch_size: int
    seed: int


class CompressTask(Resource):
    """Compress at these ranks, re-estimate the feature statistics, upload the model document as a blob."""

    kind: Literal["compress"] = "compress"
    model: Blob
    ranks: RankVector
    calibration: DataSelection
    batch_size: int
    seed: int


Task = Annotated[InspectTask | BaselineTask | TrialTask | CompressTask, Field(discriminator="kind")]


class Lease(Resource):
    """The right to complete a job. Renew it before it expires; after that another worker may get the job."""

    token: str
    seconds: float = Field(gt=0, description="how long from now, whatever the worker's clock says")
    expires_at: Timestamp


class Job(Resource):
    """A claimed job."""

    id: str
    task: Task
    attempt: int = Field(ge=1)
    lease: Lease
    study: str | None = None
    trial: int | None = None


class ClaimRequest(Request):
    """``POST /v1/jobs/claim``: 200 with a :class:`Job`, or 204 after ``wait_seconds`` without one."""

    worker: Annotated[str, Field(min_length=1, max_length=100, description="stable while the agent runs")]
    name: Name
    device: Annotated[str, Field(max_length=200)]
    version: Annotated[str, Field(max_length=50)]
    wait_seconds: float = Field(default=0, ge=0, le=60)


class LeaseRequest(Request):
    """``POST /v1/jobs/{id}/renew`` (answers a :class:`Lease`) and ``/release`` (hands the job back, 204)."""

    lease_token: str


class InspectOutcome(Request):
    """The profile, and the sha256 it was computed from."""

    kind: Literal["inspect"] = "inspect"
    profile: ModelProfile


class TrialOutcome(Request):
    """Of a trial or a baseline."""

    kind: Literal["trial", "baseline"]
    result: TrialResult


class CompressOutcome(Request):
    """The compressed model document's blob, uploaded before (``PUT /v1/blobs/{sha256}``)."""

    kind: Literal["compress"] = "compress"
    sha256: Sha256


Outcome = Annotated[InspectOutcome | TrialOutcome | CompressOutcome, Field(discriminator="kind")]


class CompleteRequest(Request):
    """``POST /v1/jobs/{id}/complete``: 204, or 409 ``lease_lost``. The same call again answers the same."""

    lease_token: str
    outcome: Outcome


class FailRequest(Request):
    """``POST /v1/jobs/{id}/fail``: the job gave no result; ``retry`` asks for another attempt."""

    lease_token: str
    problem: Problem
    retry: bool = False
