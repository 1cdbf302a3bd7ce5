"""The latency of studies' networks beside the dense ones'."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from ranksearch.contracts.base import Page
from ranksearch.contracts.latency import LatencyComparison, LatencyRequest
from service.api.access import Reader, Submitter
from service.api.dependencies import TheBackend
from service.api.problems import PROBLEMS
from service.scheduling import latencies

__all__ = ["router"]

router = APIRouter(prefix="/v1/studies/{study}/latency", tags=["latency"], responses=PROBLEMS)


@router.post("", status_code=202)
def create_latency(
    backend: TheBackend,
    caller: Submitter,
    response: Response,
    study: str,
    wanted: LatencyRequest,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> LatencyComparison:
    """Have a complete trial's network timed beside the dense one: 202 and ``Location``.

    Asked for again with the same settings it is the same report; with others, or ``again``, it is measured anew, as is
    what failed. 409 ``trial_not_complete``, or ``latency_in_progress`` while it is measured with other settings.
    """
    made = latencies.ask_for_latency(backend, caller, study, wanted, idempotency_key)
    response.headers["location"] = f"/v1/studies/{study}/latency/{made.id}"
    return made


@router.get("")
def list_latencies(backend: TheBackend, caller: Reader, study: str) -> Page[LatencyComparison]:
    """The latency reports of the study, and those that are being made."""
    return latencies.latencies(backend, caller, study)


@router.get("/{latency}")
def get_latency(backend: TheBackend, caller: Reader, study: str, latency: str) -> LatencyComparison:
    """One of them, by its id: how far it is, what was measured, and what it comes to."""
    return latencies.latency(backend, caller, study, latency)
