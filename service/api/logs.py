"""Outermost layer: gives every request an id, writes one log line for it, and answers what nobody foresaw."""

from __future__ import annotations

import logging
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import unexpected

__all__ = ["RequestLog"]

log = logging.getLogger("service.requests")


class RequestLog:
    """ASGI middleware. The id also goes out as ``X-Request-ID``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began, status = secrets.token_hex(8), time.perf_counter(), 0

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
            log.info(
                "request method=%s path=%s status=%d ms=%.1f request_id=%s",
                scope["method"],
                scope["path"],
                status,
                (time.perf_counter() - began) * 1000,
                request_id,
            )
