"""Server-sent events of a study: what happened so far, then what happens."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ranksearch.contracts.errors import NotFoundError
from service.access.principal import Principal
from service.api.access import Reader
from service.api.dependencies import TheBackend, TheRelay
from service.api.problems import PROBLEMS
from service.api.relay import Part, Relay, part_of
from service.scheduling.backend import Backend
from service.scheduling.events import events_after, newest_event
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

_CATCH_UP = 32
"""Events that a stream reads at once which is behind the others."""


@router.get("/{study}/events", response_class=StreamingResponse, responses=STREAM)
async def watch(
    backend: TheBackend,
    relay: TheRelay,
    caller: Reader,
    study: str,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="events numbered above this")] = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> StreamingResponse:
    """Events after ``Last-Event-ID`` (or ``after``), from the first one on without either.

    The stream ends after the last event that there will ever be, or once its token opens nothing any more.
    """
    start = int(last_event_id) if last_event_id is not None else after or 0
    newest = await run_in_threadpool(newest_event, backend, caller, study)  # no such study: a problem, not a stream
    return StreamingResponse(
        _lines(backend, relay, caller, study, start, newest),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _lines(
    backend: Backend, relay: Relay, caller: Principal, study: str, after: int, newest: int
) -> AsyncIterator[bytes]:
    """What a stream tells: from memory what others are told, too; where it is behind them, from the database."""
    settings, spoke = backend.settings, time.monotonic()
    with backend.metrics.event_streams.track_inprogress(), relay.watching(caller, study, newest) as watch:
        yield b": connected\n\n"
        while not (backend.bell.closed or watch.dismissed):
            watch.ear.clear()
            over, floor, part = watch.over, watch.floor, watch.after(after)
            behind = part is None
            if part is None:
                part = await run_in_threadpool(_stored, backend, caller, study, after, floor)
            if part is None or (part.last == after and over and not behind):
                return
            if part.text:
                spoke = time.monotonic()
                yield part.text
            if part.last > after:
                after = part.last
                continue
            longest = settings.poll_seconds if behind else settings.keep_alive_seconds
            await watch.ear.wait(min(longest, max(0.0, spoke + settings.keep_alive_seconds - time.monotonic())))
            if time.monotonic() - spoke >= settings.keep_alive_seconds:
                spoke = time.monotonic()
                yield b": keep-alive\n\n"


def _stored(backend: Backend, caller: Principal, study: str, after: int, floor: int) -> Part | None:
    """What follows in the database; nothing where that is away, and None where the study is not to be seen any more.

    Args:
        backend: the stores.
        caller: whose stream it is.
        study: its id.
        after: the number of the last event that was sent.
        floor: of the events up to this one, those that the database has no more are passed over.
    """
    try:
        events, _ = events_after(backend, caller, study, after, _CATCH_UP)
    except NotFoundError:
        return None
    except SQLAlchemyError as problem:
        if not is_away(problem):
            raise
        log.warning("the database is away, and a stream of %s waits for it: %s", study, problem)
        return Part(after, b"")
    return part_of(events, after) if events else Part(floor, b"")
