"""The fleet's factor cache: what one worker has decomposed, no other needs to."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.resources import Blob
from service.api.access import WorkingAgent
from service.api.dependencies import TheBackend
from service.api.downloads import BLOB_ANSWERS, blob_response
from service.api.problems import PROBLEMS
from service.api.uploads import BODY, or_here, placed, receive
from service.scheduling.factors import no_such_factors, take_factors, use_factors

__all__ = ["router"]

router = APIRouter(prefix="/v1/factors", tags=["workers"], responses=PROBLEMS)

KeyPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="a hash of all that determines the factors")]


@router.put("/{key}", status_code=201, openapi_extra=BODY, responses=or_here(Blob))
async def put_factors(
    request: Request, response: Response, backend: TheBackend, _caller: WorkingAgent, key: KeyPath
) -> Blob:
    """Keep factors (the raw bytes) for the fleet. 201; 200 where the key has some already, which stay."""
    blob, created = await receive(request, backend, partial(take_factors, backend, key=key))
    placed(response, f"/v1/factors/{key}", created=created)
    return blob


@router.get("/{key}", response_class=Response, responses=BLOB_ANSWERS)
def get_factors(request: Request, backend: TheBackend, _caller: WorkingAgent, key: KeyPath) -> Response:
    """The factors under a key; their ``ETag`` is their sha256. ``Range`` and ``If-None-Match`` are understood."""
    try:
        return blob_response(request, backend, use_factors(backend, key))
    except NotFoundError as problem:  # dropped in between
        raise no_such_factors(key) from problem
