from __future__ import annotations

from collections.abc import Iterator

from ranksearch.client.transport import Transport
from ranksearch.contracts.resources import Worker

__all__ = ["Workers"]


class Workers:
    """The agents that evaluate: ``client.workers``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Worker]:
        """All of them, page by page as they are asked for."""
        return self._transport.pages(Worker, "/v1/workers")
