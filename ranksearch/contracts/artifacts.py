"""Artifacts: the files that a study hands out, and the report that says whether one computes what it should."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from ranksearch.contracts.base import Request, Resource
from ranksearch.contracts.resources import Blob, Problem
from ranksearch.contracts.studies import CostShare

__all__ = ["SUFFIXES", "Artifact", "ArtifactFormat", "ArtifactRequest", "ArtifactState", "ParityReport"]

ArtifactFormat = Literal["document", "pt2", "onnx"]
"""A model document, a program of ``torch.export.save``, or a single ONNX file."""
ArtifactState = Literal["pending", "ready", "failed"]

SUFFIXES: Final[dict[ArtifactFormat, str]] = {"document": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
"""By which a file of each format is known."""


class ParityReport(Resource):
    """How far a file's outputs are from those of what it was made from, on the same images.

    A document is read anew and compared with the network in memory; ``pt2`` and ``onnx`` are compared with the
    document.
    """

    reference: Literal["network", "document"] = Field(description="what the file's outputs were compared with")
    images: int = Field(ge=1, description="validation images that both were given")
    max_difference: float | None = Field(
        description="largest absolute difference of any output; None: an output is of another shape, or not finite"
    )
    max_relative_difference: float | None = Field(
        description="the same, as a fraction of the range (largest less smallest) of the reference's outputs"
    )
    tolerance: float = Field(gt=0, description="the largest max_relative_difference that agrees, by the dtype")
    same_top1: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="the part of the images whose largest score is of the same class; None: the outputs are no scores",
    )
    dtype: str = Field(description='of the outputs, such as "float32"')
    runtimes: dict[str, str] = Field(description='what ran them, and its version: {"torch": …, "onnxruntime": …}')
    agrees: bool = Field(description="a file that does not is never handed out")


class Artifact(Resource):
    """A file that a study hands out. ``blob`` is None until it is made."""

    id: str = ""
    name: str = Field(
        description='for the file: "compressed" and its ending where it is of the best trial of a completed study, else'
        ' such as "trial-7.onnx", or "trial-7-tuned.onnx"'
    )
    kind: Literal["model_document", "torch_program", "onnx_model"]
    format: ArtifactFormat = "document"
    state: ArtifactState
    trial: int
    tuned: bool = Field(default=False, description="whether the network was fine-tuned")
    blob: Blob | None = None
    url: str | None = Field(default=None, description="of its bytes, relative to the service")
    error: Problem | None = None
    parity: ParityReport | None = Field(default=None, description="None: not measured yet")
    macs: CostShare | None = Field(default=None, description="of the network in it")
    params: CostShare | None = Field(default=None, description="of the network in it")


class ArtifactRequest(Request):
    """``POST /v1/studies/{id}/artifacts``: have a file made. Asked for again, it is the same artifact."""

    trial: int | None = Field(default=None, ge=0, lt=2**31, description="a complete trial's number; None: the best")
    format: ArtifactFormat = "document"
    tuned: bool | None = Field(
        default=None,
        description="its fine-tuned network; None: of the best trial where that is better, of a named one never",
    )
