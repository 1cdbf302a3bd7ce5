"""Models, data sets and workers as the API answers them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ranksearch.contracts.base import Name, Resource, Sha256, Timestamp
from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.model_summaries import ModelSummary
from ranksearch.contracts.profiles import ModelProfile

__all__ = [
    "Blob",
    "Dataset",
    "Health",
    "Model",
    "ModelSource",
    "Part",
    "Problem",
    "Readiness",
    "Sample",
    "Samples",
    "SandboxMeasure",
    "Worker",
    "WorkerState",
]


class Blob(Resource):
    """Bytes addressed by their sha256: ``GET /v1/blobs/{sha256}``."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class Problem(Resource):
    """RFC 9457, with this product's members; see :mod:`ranksearch.contracts.errors`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    got: str | None = None
    expected: str | None = None
    mend: str | None = None
    extra: dict[str, Any] | None = None


class ModelSource(Resource):
    """The file that was uploaded, where that is no model document: a worker makes one of it when it inspects it."""

    format: Literal["onnx"] = "onnx"
    blob: Blob
    opset: int | None = Field(default=None, description="version of its operators; None: not opened yet")
    producer: str | None = Field(default=None, description="what it says that wrote it")
    max_relative_difference: float | None = Field(
        default=None,
        description="between the document's outputs and ONNX Runtime's of the file, as a share of their range",
    )


class Model(Resource):
    """An uploaded model. ``inspecting`` until a worker has returned its profile."""

    id: str
    name: Name
    owner: str | None = Field(default=None, description="name of the user who uploaded it")
    project: str | None = Field(default=None, description="name of the project that it belongs to")
    blob: Blob = Field(description="the model document; until one is made of another file, that file")
    source: ModelSource | None = Field(default=None, description="None: a model document was uploaded")
    state: Literal["inspecting", "ready", "failed"]
    waiting_for: str | None = Field(default=None, description="why an inspection is not moving")
    summary: ModelSummary | None = Field(description="None: there is no model document yet")
    profile: ModelProfile | None = None
    error: Problem | None = None
    created_at: Timestamp


class Dataset(Resource):
    """An uploaded data set document."""

    id: str
    name: Name
    owner: str | None = Field(default=None, description="name of the user who uploaded it")
    project: str | None = Field(default=None, description="name of the project that it belongs to")
    blob: Blob
    summary: DatasetSummary
    created_at: Timestamp


class Sample(Resource):
    """One image of a data set."""

    index: int = Field(ge=0)
    label: int | None = Field(default=None, description="None: the images have no labels")
    class_name: str | None = None
    url: str | None = Field(
        default=None, description="of its picture, a PNG file, relative to the service; None: it cannot be shown as one"
    )


class Samples(Resource):
    """Some images of a data set."""

    items: list[Sample]
    count: int = Field(description="images of the whole data set")


class SandboxMeasure(Resource):
    """Something that confines a worker's evaluating process, and whether it is in force."""

    name: str = Field(description='such as "no network"')
    in_force: bool
    reason: str | None = Field(default=None, description="why it is not in force")


WorkerState = Literal["idle", "busy", "draining", "away"]


class Worker(Resource):
    """An agent that has claimed or asked for work. ``draining``: it finishes what it does and takes no more."""

    id: str
    name: str
    device: str
    state: WorkerState
    version: str
    labels: dict[str, str] = Field(default={})
    memory_bytes: int | None = Field(default=None, description="of the device; None: not known")
    sandbox: list[SandboxMeasure] = Field(default=[])
    job: str | None = None
    study: str | None = Field(default=None, description="of the job")
    study_name: str | None = None
    trial: int | None = Field(default=None, description="of the job")
    task: str | None = Field(default=None, description='what the job is: "trial", "inspect", …')
    since: Timestamp | None = Field(default=None, description="when it was given the job")
    busy_share: float | None = Field(
        default=None, ge=0, le=1, description="of the last ten minutes, the part in which it had a job"
    )
    last_seen_at: Timestamp


class Health(Resource):
    """``GET /healthz``: the process is alive. Says nothing about its database."""

    status: Literal["ok"] = "ok"
    version: str


class Part(Resource):
    """Something that the service cannot do without."""

    name: Literal["service", "database", "schema", "blobs"]
    ready: bool
    reason: str | None = Field(default=None, description="why it is not ready")


class Readiness(Resource):
    """``GET /readyz``: the service can do its work. 503 ``service_not_ready`` has the parts among its ``extra``."""

    status: Literal["ready"] = "ready"
    version: str
    parts: list[Part]
