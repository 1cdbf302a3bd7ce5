from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from ranksearch.client.address import resolve
from ranksearch.client.blobs import Blobs
from ranksearch.client.documents import Datasets, Models
from ranksearch.client.jobs import Jobs
from ranksearch.client.studies import Studies
from ranksearch.client.transport import Transport
from ranksearch.client.workers import Workers

__all__ = ["Client"]


class Client:
    """Talks to one service. May be used from several threads, and as a context manager.

    Calls that may be repeated are, while the service is away or busy; every error is a
    :class:`~ranksearch.contracts.errors.RankSearchError`.

    Args:
        url: of the service; without one ``RANKSEARCH_URL``, else the local service of ``ranksearch up``.
        token: for it; without one ``RANKSEARCH_TOKEN``, else the local service's.
        transport: another httpx transport, for tests.
        timeout: seconds for connecting, and between two pieces of an answer.
        patience: seconds a repeatable call keeps trying while a service that answered before is away or busy.

    Raises:
        UnavailableError: nothing says where a service is.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
    ) -> None:
        self._transport = Transport(resolve(url, token), transport=transport, timeout=timeout, patience=patience)
        self.models = Models(self._transport)
        self.datasets = Datasets(self._transport)
        self.studies = Studies(self._transport)
        self.workers = Workers(self._transport)
        self.blobs = Blobs(self._transport)
        self.jobs = Jobs(self._transport)

    @property
    def url(self) -> str:
        """Of the service, without a trailing slash."""
        return self._transport.address.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
