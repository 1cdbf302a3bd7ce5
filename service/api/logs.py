"""Outermost layer: gives every request an id, writes one log line for it, and answers what nobody foresaw."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranksearch.contracts.loglines import REQUEST_ID_HEADER, logged_with, request_id_of
from service.api.problems import unexpected
from service.metrics import Metrics

__all__ = ["PROBES", "RequestLog", "route_of"]

log = logging.getLogger("service.requests")

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug level while all is well."""


class RequestLog:
    """ASGI middleware, which counts requests, too.

    Everything that is logged while a request is served has its id, which goes out with the answer.

    The id is the request's ``X-Request-Id`` where that is well formed, else a new one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        with logged_with(request_id=request_id):
            await self._handle(scope, receive, send, request_id)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as problem:
            response = unexpected(problem, request_id)
            if status:  # too late for an answer; the server will cut the connection
                raise
            await response(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.answered(scope["method"], route_of(scope), status, seconds)
            _write_line(scope, status, seconds)


def route_of(scope: Scope) -> str | None:
    """The template of the route that took a request, such as ``/v1/studies/{study}``; None: no route did."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _write_line(scope: Scope, status: int, seconds: float) -> None:
    quiet = scope["path"] in PROBES and 0 < status < 400  # noqa: PLR2004 - no error
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "route": route_of(scope),
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "client": (scope.get("client") or (None,))[0],
    }
    log.log(logging.DEBUG if quiet else logging.INFO, "request", extra=told)
