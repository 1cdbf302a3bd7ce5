"""Whether the process lives, and whether it can work: what probes of orchestrators and load balancers ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ranksearch.contracts.resources import Health, Readiness
from service.api.problems import PROBLEMS
from service.api.readiness import ReadinessCheck
from service.version import VERSION

__all__ = ["router"]

router = APIRouter(tags=["health"], responses=PROBLEMS)


def _check(request: Request) -> ReadinessCheck:
    check: ReadinessCheck = request.app.state.readiness
    return check


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(version=VERSION)


@router.get("/readyz")
async def readyz(check: Annotated[ReadinessCheck, Depends(_check)]) -> Readiness:
    """The database answers, its schema is this program's, the blob store answers, and the service is not stopping.

    503 ``service_not_ready`` otherwise: which part is not ready, and why, in words that name no secret.
    """
    return await check.ready()
