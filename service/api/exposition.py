"""``/metrics``, as Prometheus scrapes it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import choose_encoder

from service.api.access import ReaderOrAgent
from service.api.problems import PROBLEMS
from service.metrics import Metrics

__all__ = ["router"]

router = APIRouter(tags=["health"], responses=PROBLEMS)


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
def expose(request: Request, _caller: ReaderOrAgent, metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """What this service counts and measures, in Prometheus' text format or, where it is asked for, OpenMetrics."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(metrics.registry), media_type=content_type)
