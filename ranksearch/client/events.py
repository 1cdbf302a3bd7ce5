"""A study's events as they happen, across dropped connections and restarts of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import httpx
from httpx_sse import EventSource, SSEError
from pydantic import ValidationError

from ranksearch.client.retries import Attempts
from ranksearch.client.transport import Transport, segment
from ranksearch.contracts.errors import RankSearchError, UnavailableError
from ranksearch.contracts.studies import Event, Study

__all__ = ["FINAL_STATES", "RESTING_STATES", "follow"]

FINAL_STATES: Final = frozenset({"completed", "failed", "cancelled"})
"""A study in one of these does not move any more."""

RESTING_STATES: Final = FINAL_STATES | {"paused"}
"""One in these does not move by itself."""

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
    attempts = transport.attempts()
    stream = _Stream(transport, study, after)
    while True:
        since = time.monotonic()
        try:
            yield from stream.once(attempts)
            if stream.go_on:
                continue  # whether there is more, the next connection tells: an empty one is the end
            if stream.study_has_ended():
                return
            failure: RankSearchError = UnavailableError("service_unreachable", "the stream of events ends early")
        except httpx.RequestError as error:
            failure = transport.failure(error)
        if time.monotonic() - since > _LASTING:
            attempts.restart()
        attempts.pause(failure)


class _Stream:
    """Where we are in a study's events."""

    def __init__(self, transport: Transport, study: str, last: int | None) -> None:
        self.go_on = False
        """Whether the last connection told something, or is to be repeated."""
        self._transport = transport
        self._path = f"/v1/studies/{segment(study)}"
        self._last = last
        self._over = False

    def once(self, attempts: Attempts) -> Iterator[Event]:
        """The new events of one connection, until it closes."""
        self.go_on = False
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last is not None:
            headers["Last-Event-ID"] = str(self._last)
        with self._transport.stream(f"{self._path}/events", headers=headers, timeout=_LONGEST_SILENCE) as response:
            if response.status_code == _NO_CONTENT:
                self._over = True
                return
            if not response.is_success:
                self._transport.refuse_or_pause(response, attempts)
                self.go_on = True
                return
            for event in _events(response):
                if self._last is not None and event.id <= self._last:
                    continue
                attempts.restart()
                self._last, self.go_on = event.id, True
                self._over = self._over or (event.kind == "study" and event.data.get("state") in FINAL_STATES)
                yield event

    def study_has_ended(self) -> bool:
        return self._over or self._transport.fetch(Study, self._path).state in FINAL_STATES


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
