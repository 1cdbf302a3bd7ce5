"""Connections that send nothing, or ever so slowly, are closed.

Uvicorn bounds the size of a request's head and the time between two requests of a connection, but not the time that a
head takes, nor the rest of a body whose request was answered already: whoever opens connections and sends a byte now
and then would keep them for ever. Bodies that somebody still waits for are bounded in :mod:`service.api.pace`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BoundedHeads", "bounded_heads"]


class BoundedHeads(H11Protocol):
    """Uvicorn's HTTP, with a bound on the time in which a connection is of no use to anybody."""

    head_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, handed on
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """See uvicorn. Its own bound counts from here to the next byte; ours begins with that."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._stop()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Have the time run while a head is awaited, or the rest of what was answered already."""
        rest = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if self.transport.is_closing() or not (rest or self.conn.their_state is h11.IDLE):
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_heads(seconds: float) -> type[BoundedHeads]:
    """The protocol in which the head of a request has to arrive within so many seconds."""
    return type("BoundedHeads", (BoundedHeads,), {"head_seconds": seconds})
