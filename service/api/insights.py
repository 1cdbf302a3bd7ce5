"""What a study shows of its search."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from ranksearch.contracts.insights import History, Importance, RankMap, Sensitivity
from service.api.access import Reader
from service.api.dependencies import TheBackend
from service.api.problems import PROBLEMS
from service.scheduling.layer_insights import importance, rank_map, sensitivity
from service.scheduling.timelines import history

__all__ = ["router"]

router = APIRouter(prefix="/v1/studies", tags=["studies"], responses=PROBLEMS)

IfNoneMatch = Annotated[str | None, Header(max_length=500, description="the `ETag` of an answer that the asker has")]
Points = Annotated[int, Query(ge=4, le=100_000, description="about how many trials a chart has room for")]

Periods = Annotated[int, Query(ge=1, le=12, description="into so many stretches the trials are divided")]


def _answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description of an answer with an entity tag."""
    return {200: {"model": model}, 304: {"description": "nothing happened since: `If-None-Match`"}}


def _tagged(answer: BaseModel, tag: str, known: str | None) -> Response:
    """An answer that is the same for as long as its tag is; 304 for who has it."""
    tag = f'W/"{tag}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if known is not None and tag in [one.strip() for one in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json", headers=headers)


@router.get("/{study}/history", response_class=Response, responses=_answers(History))
def get_history(
    backend: TheBackend, caller: Reader, study: str, points: Points = 2000, if_none_match: IfNoneMatch = None
) -> Response:
    """What every trial gave, in columns; the same answer has the same ``ETag``."""
    answer = history(backend, caller, study, points)
    return _tagged(answer, f"{answer.last_event}-{points}", if_none_match)


@router.get("/{study}/rank-map", response_class=Response, responses=_answers(RankMap))
def get_rank_map(
    backend: TheBackend, caller: Reader, study: str, periods: Periods = 3, if_none_match: IfNoneMatch = None
) -> Response:
    """Where the ranks were that the search tried, layer by layer; the same answer has the same ``ETag``."""
    answer = rank_map(backend, caller, study, periods)
    return _tagged(answer, f"{answer.last_event}-{periods}", if_none_match)


@router.get("/{study}/importance", response_class=Response, responses=_answers(Importance))
def get_importance(backend: TheBackend, caller: Reader, study: str, if_none_match: IfNoneMatch = None) -> Response:
    """How much each layer's error matters, as far as the trials tell; the same answer has the same ``ETag``."""
    answer = importance(backend, caller, study)
    return _tagged(answer, f"{answer.last_event}", if_none_match)


@router.get("/{study}/sensitivity")
def get_sensitivity(backend: TheBackend, caller: Reader, study: str) -> Sensitivity:
    """How far each layer alone moves the network, where that was measured."""
    return sensitivity(backend, caller, study)
