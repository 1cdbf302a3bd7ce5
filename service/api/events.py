"""Server-sent events of a study: what happened so far, then what happens."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ranksearch.contracts.errors import AccessError, NotFoundError
from ranksearch.contracts.studies import Event
from service.access.principal import Principal
from service.access.verification import Verifier
from service.api.access import Reader
from service.api.dependencies import TheBackend, TheVerifier
from service.api.problems import PROBLEMS
from service.scheduling.backend import Backend, study_topic
from service.scheduling.events import events_after
from service.storage.engine import is_away

__all__ = ["router"]

log = logging.getLogger(__name__)

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the events; `data` is an Event as JSON",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
                    "required": ["id", "event", "data"],
                }
            }
        },
    }
}
"""For the OpenAPI description."""

router = APIRouter(prefix="/v1/studies", tags=["studies"], responses=PROBLEMS)

_CHECK_SECONDS = 1.0
"""A stream ends so long after its token was revoked or has expired, at most, besides the time between two looks."""


@router.get("/{study}/events", response_class=StreamingResponse, responses=STREAM)
async def watch(
    backend: TheBackend,
    verifier: TheVerifier,
    caller: Reader,
    study: str,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="events numbered above this")] = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> StreamingResponse:
    """Events after ``Last-Event-ID`` (or ``after``), from the first one on without either.

    The stream ends after the last event that there will ever be, or once its token opens nothing any more.
    """
    start = int(last_event_id) if last_event_id is not None else after or 0
    await run_in_threadpool(events_after, backend, caller, study, start, 1)  # no such study: a problem, not a stream
    return StreamingResponse(
        _lines(backend, verifier, caller, study, start),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _lines(backend: Backend, verifier: Verifier, caller: Principal, study: str, after: int) -> AsyncIterator[str]:
    settings, checked = backend.settings, time.monotonic()
    spoke, longest = checked, min(settings.poll_seconds, settings.keep_alive_seconds)
    with backend.metrics.event_streams.track_inprogress(), backend.bell.listening(study_topic(study)) as ear:
        yield ": connected\n\n"
        while not backend.bell.closed:
            ear.clear()
            due = time.monotonic() - checked > _CHECK_SECONDS
            if due:
                checked = time.monotonic()
            events, ended = await run_in_threadpool(_news, backend, verifier if due else None, caller, study, after)
            for event in events:
                yield _written(event)
                after, spoke = event.id, time.monotonic()
            if ended:
                return
            if events:
                continue
            await ear.wait(longest)
            if time.monotonic() - spoke >= settings.keep_alive_seconds:
                spoke = time.monotonic()
                yield ": keep-alive\n\n"


def _news(
    backend: Backend, verifier: Verifier | None, caller: Principal, study: str, after: int
) -> tuple[list[Event], bool]:
    """As :func:`events_after`.

    The stream ends where its caller may see them no longer, or they were deleted; it waits where the database is away.

    Args:
        backend: the stores.
        verifier: looks whether the caller still may; None where it did a moment ago.
        caller: whose stream it is.
        study: its id.
        after: the number of the last event that was sent.
    """
    try:
        if verifier is not None:
            verifier.check(caller)
        return events_after(backend, caller, study, after)
    except (AccessError, NotFoundError):
        return [], True
    except SQLAlchemyError as problem:
        if not is_away(problem):
            raise
        log.warning("the database is away, and a stream of %s waits for it: %s", study, problem)
        return [], False


def _written(event: Event) -> str:
    data = json.dumps(event.model_dump(mode="json", by_alias=True), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
