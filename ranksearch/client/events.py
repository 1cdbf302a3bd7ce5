"""A study's events as they happen, across dropped connections and restarts of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import httpx
from httpx_sse import EventSource, SSEError
from pydantic import ValidationError

from ranksearch.client.transport import Transport, segment
from ranksearch.contracts.errors import RankSearchError, UnavailableError
from ranksearch.contracts.studies import Event

__all__ = ["FINAL_STATES", "follow"]

FINAL_STATES: Final = frozenset({"completed", "failed", "cancelled"})
"""A study in one of these does not move any more."""

_NO_CONTENT: Final = 204
_LONGEST_SILENCE: Final = 60.0
"""Seconds; the service sends a comment more often than that."""
_LASTING: Final = 5.0
"""Seconds after which a connection counts as having worked, even if nothing happened."""


def follow(transport: Transport, study: str, *, after: int | None = None) -> Iterator[Event]:
    """Yield a study's events, each once and in order, until the study has ended and the service closes the stream.

    Args:
        transport: the service.
        study: its id.
        after: the id of the last event seen; None: from the beginning.

    Raises:
        NotFoundError: there is no such study.
        UnavailableError: the service stays away longer than the client's patience.
    """
    path = f"/v1/studies/{segment(study)}/events"
    attempts = transport.attempts()
    last, over = after, False
    while True:
        since = time.monotonic()
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        try:
            with transport.stream(path, headers=headers, timeout=_LONGEST_SILENCE) as response:
                if response.status_code == _NO_CONTENT:
                    return
                if not response.is_success:
                    transport.refuse_or_pause(response, attempts)
                    continue
                for event in _events(response):
                    if last is not None and event.id <= last:
                        continue
                    attempts.restart()
                    last = event.id
                    over = over or (event.kind == "study" and event.data.get("state") in FINAL_STATES)
                    yield event
            if over:
                return
            failure: RankSearchError = UnavailableError("service_unreachable", "the stream of events ends early")
        except httpx.RequestError as error:
            failure = transport.failure(error)
        if time.monotonic() - since > _LASTING:
            attempts.restart()
        attempts.pause(failure)


def _events(response: httpx.Response) -> Iterator[Event]:
    try:
        for sent in EventSource(response).iter_sse():
            if sent.data:
                yield Event.model_validate_json(sent.data)
    except (SSEError, ValidationError) as error:
        raise UnavailableError(
            "service_answer_invalid",
            "the service's events are not what this client understands",
            got=str(error),
            expected="text/event-stream of study events",
            mend="bring client and service to the same version",
        ) from error
