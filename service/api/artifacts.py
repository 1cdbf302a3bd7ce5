"""The files that studies hand out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from ranksearch.contracts.artifacts import Artifact, ArtifactRequest
from ranksearch.contracts.base import Page
from service.api.access import Reader, Submitter
from service.api.dependencies import TheBackend
from service.api.downloads import BLOB_ANSWERS, blob_response
from service.api.problems import PROBLEMS
from service.scheduling import artifacts
from service.scheduling.artifact_views import ARTIFACT_NAME

__all__ = ["router"]

router = APIRouter(prefix="/v1/studies/{study}/artifacts", tags=["artifacts"], responses=PROBLEMS)


@router.post("", status_code=202)
def create_artifact(
    backend: TheBackend,
    caller: Submitter,
    response: Response,
    study: str,
    wanted: ArtifactRequest,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Artifact:
    """Have a file made of a complete trial: 202 and ``Location``. Asked for again, it is the same one.

    What failed is made once more. ``pt2`` and ``onnx`` are made from the trial's model document, which is made first
    where it is lacking. 409 ``trial_not_complete``.
    """
    made = artifacts.ask_for_artifact(backend, caller, study, wanted, idempotency_key)
    response.headers["location"] = f"/v1/studies/{study}/artifacts/{made.id}"
    return made


@router.get("")
def list_artifacts(backend: TheBackend, caller: Reader, study: str) -> Page[Artifact]:
    """The files that the study hands out, and those that are being made."""
    return artifacts.artifacts(backend, caller, study)


@router.get(f"/{ARTIFACT_NAME}", response_class=Response, responses=BLOB_ANSWERS)
def get_compressed(request: Request, backend: TheBackend, caller: Reader, study: str) -> Response:
    """The bytes of the best trial's model document, once the study is completed."""
    sha256, name = artifacts.ready_artifact(backend, caller, study, None)
    return blob_response(request, backend, sha256, filename=name)


@router.get("/{artifact}")
def get_artifact(backend: TheBackend, caller: Reader, study: str, artifact: str) -> Artifact:
    """One of the files, by its id: how far it is, and how true it is to what it was made from."""
    return artifacts.artifact(backend, caller, study, artifact)


@router.get("/{artifact}/content", response_class=Response, responses=BLOB_ANSWERS)
def get_content(request: Request, backend: TheBackend, caller: Reader, study: str, artifact: str) -> Response:
    """Its bytes; ``Range`` and ``If-None-Match`` are understood."""
    sha256, name = artifacts.ready_artifact(backend, caller, study, artifact)
    return blob_response(request, backend, sha256, filename=name)
