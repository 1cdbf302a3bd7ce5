"""Whether the service can work: its parts, each asked within a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.resources import Part, Readiness
from service.scheduling.backend import Backend
from service.storage.migrations import schema_revision, schema_state
from service.version import VERSION

__all__ = ["ReadinessCheck"]

log = logging.getLogger(__name__)

_SCHEMA = {
    "behind": "the schema is older than this program; a start of the service brings it up",
    "unknown": "the schema was made by a newer program than this one",
    "empty": "there are no tables",
}


class ReadinessCheck:
    """Asks the parts, in threads that nothing else waits for.

    A part that hangs is asked once, however many probes come: the next ones wait for the same answer, each within the
    bound. So a database that hangs costs one thread, and probes are always answered.

    Args:
        backend: whose parts.
        seconds: the bound for an answer.
    """

    def __init__(self, backend: Backend, seconds: float) -> None:
        self._backend = backend
        self._seconds = seconds
        self._limiter = CapacityLimiter(2)
        self._asking: dict[str, asyncio.Future[list[Part]]] = {}

    async def ready(self) -> Readiness:
        """All parts, where they are ready.

        Raises:
            UnavailableError: ``service_not_ready``; the parts are in ``extra``.
        """
        stopping = self._backend.bell.closed
        parts = [Part(name="service", ready=not stopping, reason="it is shutting down" if stopping else None)]
        for asked in await asyncio.gather(
            self._within_bound("database", self._database), self._within_bound("blobs", self._blobs)
        ):
            parts += asked
        missing = [part for part in parts if not part.ready]
        if missing:
            raise UnavailableError(
                "service_not_ready",
                "; ".join(f"{part.name}: {part.reason}" for part in missing),
                mend="look into the service's log, or run: ranksearch doctor --data-dir … on its machine",
                parts=[part.model_dump(mode="json") for part in parts],
            )
        return Readiness(version=VERSION, parts=parts)

    async def _within_bound(self, name: str, ask: Callable[[], list[Part]]) -> list[Part]:
        asking = self._asking.get(name)
        if asking is None or asking.done():
            asking = self._asking[name] = asyncio.ensure_future(to_thread.run_sync(ask, limiter=self._limiter))
        done, _ = await asyncio.wait({asking}, timeout=self._seconds)
        if not done:
            late = f"no answer within {self._seconds:g} s"
            return [Part.model_validate({"name": name, "ready": False, "reason": late})]
        return asking.result()

    def _database(self) -> list[Part]:
        try:
            state = schema_state(schema_revision(self._backend.database))
        except SQLAlchemyError as problem:
            log.warning("the database does not answer: %s", problem)
            return [Part(name="database", ready=False, reason="it does not answer")]
        return [
            Part(name="database", ready=True),
            Part(name="schema", ready=state == "newest", reason=_SCHEMA.get(state)),
        ]

    def _blobs(self) -> list[Part]:
        try:
            self._backend.blobs.check()
        except (UnavailableError, OSError) as problem:
            log.warning("the blob store does not answer: %s", problem)
            detail = problem.detail if isinstance(problem, UnavailableError) else "it does not answer"
            return [Part(name="blobs", ready=False, reason=detail)]
        return [Part(name="blobs", ready=True)]
