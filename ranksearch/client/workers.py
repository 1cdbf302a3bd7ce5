from __future__ import annotations

from collections.abc import Iterator

from ranksearch.client.transport import Transport, segment
from ranksearch.contracts.resources import Worker

__all__ = ["Workers"]


class Workers:
    """The agents that evaluate: ``client.workers``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Worker]:
        """All of them, page by page as they are asked for."""
        return self._transport.pages(Worker, "/v1/workers")

    def drain(self, worker: str) -> None:
        """Have a worker finish what it does and take no more jobs. Repeated, it does nothing.

        Raises:
            NotFoundError: ``worker_not_found``.
        """
        self._transport.request("POST", f"/v1/workers/{segment(worker)}/drain", repeatable=True)

    def undrain(self, worker: str) -> None:
        """Let a drained worker take jobs again. Repeated, it does nothing.

        Raises:
            NotFoundError: ``worker_not_found``.
        """
        self._transport.request("POST", f"/v1/workers/{segment(worker)}/undrain", repeatable=True)
