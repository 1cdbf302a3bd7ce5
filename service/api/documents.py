"""Models, data sets and blobs."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from ranksearch.contracts.base import Name, Page
from ranksearch.contracts.resources import Blob, Dataset, Model, Samples
from service.api.access import Reader, ReaderOrAgent, Submitter, WorkingAgent
from service.api.dependencies import Cursor, Limit, TheBackend
from service.api.downloads import BLOB_ANSWERS, blob_response
from service.api.problems import PROBLEMS
from service.api.uploads import BODY, or_here, placed, receive
from service.scheduling import answers, dataset_images
from service.scheduling.deletion import delete_dataset, delete_model
from service.scheduling.inspection import inspect_again
from service.scheduling.intake import take_blob, take_dataset, take_model

__all__ = ["router"]

NameQuery = Annotated[Name, Query()]
_PICTURE = {"description": "the picture", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
Sha256Path = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]

router = APIRouter(prefix="/v1", responses=PROBLEMS)


@router.post("/models", status_code=201, tags=["models"], openapi_extra=BODY, responses=or_here(Model))
async def upload_model(
    request: Request, response: Response, backend: TheBackend, caller: Submitter, name: NameQuery
) -> Model:
    """Upload a model document (the raw bytes). 201 and an inspection; 200 where it is here already."""
    model, created = await receive(
        request, backend, partial(take_model, backend, caller, name=name), project=caller.project
    )
    placed(response, f"/v1/models/{model.id}", created=created)
    return model


@router.get("/models", tags=["models"])
def list_models(backend: TheBackend, caller: Reader, cursor: Cursor = None, limit: Limit = 50) -> Page[Model]:
    """Models, newest first."""
    return answers.models(backend, caller, cursor, limit)


@router.get("/models/{model}", tags=["models"])
def get_model(backend: TheBackend, caller: Reader, model: str) -> Model:
    """One model, with its profile once it is inspected."""
    return answers.model(backend, caller, model)


@router.post("/models/{model}/inspect", status_code=202, tags=["models"])
def inspect_model(response: Response, backend: TheBackend, caller: Submitter, model: str) -> Model:
    """Inspect it once more, such as for latencies that an older worker did not measure. Studies stay as they are."""
    inspected = inspect_again(backend, caller, model)
    response.headers["location"] = f"/v1/models/{inspected.id}"
    return inspected


@router.delete("/models/{model}", status_code=204, tags=["models"])
def remove_model(backend: TheBackend, caller: Submitter, model: str) -> None:
    """Delete a model. 409 ``in_use`` while a study needs it or a worker inspects it."""
    delete_model(backend, caller, model)


@router.post("/datasets", status_code=201, tags=["datasets"], openapi_extra=BODY, responses=or_here(Dataset))
async def upload_dataset(
    request: Request, response: Response, backend: TheBackend, caller: Submitter, name: NameQuery
) -> Dataset:
    """Upload a data set document (the raw bytes). 201; 200 where it is here already."""
    dataset, created = await receive(
        request, backend, partial(take_dataset, backend, caller, name=name), project=caller.project
    )
    placed(response, f"/v1/datasets/{dataset.id}", created=created)
    return dataset


@router.get("/datasets", tags=["datasets"])
def list_datasets(backend: TheBackend, caller: Reader, cursor: Cursor = None, limit: Limit = 50) -> Page[Dataset]:
    """Data sets, newest first."""
    return answers.datasets(backend, caller, cursor, limit)


@router.get("/datasets/{dataset}", tags=["datasets"])
def get_dataset(backend: TheBackend, caller: Reader, dataset: str) -> Dataset:
    """One data set."""
    return answers.dataset(backend, caller, dataset)


@router.get("/datasets/{dataset}/samples", tags=["datasets"])
def list_samples(
    backend: TheBackend,
    caller: Reader,
    dataset: str,
    start: Annotated[int, Query(ge=0, lt=2**62, description="the first image")] = 0,
    count: Annotated[int, Query(ge=1, le=100, description="how many at most")] = 16,
) -> Samples:
    """Some of its images: their labels, and where their pictures are."""
    return dataset_images.samples(backend, caller, dataset, start, count)


@router.get(
    "/datasets/{dataset}/images/{number}", tags=["datasets"], response_class=Response, responses={200: _PICTURE}
)
def get_image(
    backend: TheBackend, caller: Reader, dataset: str, number: Annotated[int, Path(ge=0, lt=2**62)]
) -> Response:
    """One image as a PNG file, of at most 512 pixels a side."""
    picture = dataset_images.picture(backend, caller, dataset, number)
    return Response(picture, media_type="image/png", headers={"cache-control": "private, max-age=86400, immutable"})


@router.delete("/datasets/{dataset}", status_code=204, tags=["datasets"])
def remove_dataset(backend: TheBackend, caller: Submitter, dataset: str) -> None:
    """Delete a data set. 409 ``in_use`` while a study needs it."""
    delete_dataset(backend, caller, dataset)


@router.put("/blobs/{sha256}", status_code=201, tags=["blobs"], openapi_extra=BODY, responses=or_here(Blob))
async def put_blob(
    request: Request, response: Response, backend: TheBackend, _caller: WorkingAgent, sha256: Sha256Path
) -> Blob:
    """Upload bytes that hash to ``sha256``. 201; 200 where they are here already."""
    blob, created = await receive(request, backend, partial(take_blob, backend), sha256)
    placed(response, f"/v1/blobs/{sha256}", created=created)
    return blob


@router.get("/blobs/{sha256}", tags=["blobs"], response_class=Response, responses=BLOB_ANSWERS)
def get_blob(request: Request, backend: TheBackend, caller: ReaderOrAgent, sha256: Sha256Path) -> Response:
    """A blob's bytes; ``Range`` and ``If-None-Match`` are understood."""
    answers.check_blob(backend, caller, sha256)
    return blob_response(request, backend, sha256)
