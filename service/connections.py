"""Connections that send nothing, ever so slowly, or no end of a head, are closed.

Uvicorn bounds the time between two requests of a connection, but neither the time and the bytes that a head takes, nor
the rest of a body whose request was answered already: whoever opens connections and sends a byte now and then would
keep them for ever, and a head without an end would fill the memory. Bodies that somebody still waits for are bounded in
:mod:`service.api.pace` and :mod:`service.api.limits`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["HEAD_BYTES", "BoundedHeads", "bounded_heads"]

HEAD_BYTES = 64 * 1024
"""Of a request's line and headers together, trailers included."""


class BoundedHeads(HttpToolsProtocol):
    """Uvicorn's HTTP, with bounds on what a connection may take while it is of no use to anybody."""

    head_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, handed on
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._within_message = False  # between a message's first byte and its last
        self._head_bytes = 0  # of the message
        self._fruitless_bytes = 0  # since a head, a piece of a body or the end of one was read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._fruitless_bytes += len(data)
        super().data_received(data)
        if self._fruitless_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse()
        if self.transport.is_closing() or self._answering:
            self._stop()
        else:  # the head of the next request is awaited, or the rest of one that was answered already
            self._start()

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._within_message, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Trailers come here, too."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._fruitless_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._fruitless_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._within_message, self._fruitless_bytes = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn. Its own bound counts from here to the next byte; ours begins with that."""
        super().on_response_complete()
        if self._within_message and not self._answering:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._stop()
        super().connection_lost(exc)

    @property
    def _answering(self) -> bool:
        """Whether a request is being answered, however long that takes."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation forgets the time before the first one
        return cycle is not None and not cycle.response_complete

    def _count(self, size: int) -> None:
        """Bound a head however it arrives; what this raises makes the parser refuse it."""
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            raise ValueError(f"a head of more than {HEAD_BYTES} bytes")

    def _refuse(self) -> None:
        """More than a head may have has come, and no end of it."""
        if self._answering:
            self.transport.close()
        else:
            self.send_400_response(f"The head of a request may have {HEAD_BYTES} bytes.")

    def _start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_heads(seconds: float) -> type[BoundedHeads]:
    """The protocol in which the head of a request has to arrive within so many seconds."""
    return type("BoundedHeads", (BoundedHeads,), {"head_seconds": seconds})
