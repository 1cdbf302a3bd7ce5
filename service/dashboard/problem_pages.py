"""For browsers, every problem document becomes a page: whatever answered it, and whatever went wrong."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranksearch.contracts.errors import RankSearchError
from service.api.access import OPEN_OPERATIONS
from service.dashboard.headers import PAGE_HEADERS
from service.dashboard.rendering import Shell
from service.dashboard.sign_in import SIGN_IN_PATH

__all__ = ["ProblemPages"]

_NOT_SIGNED_IN: Final = frozenset(
    {"token_missing", "token_invalid", "token_expired", "token_revoked", "session_expired"}
)
_OF_THE_DOCUMENT: Final = frozenset({"content-length", "content-type", "cache-control"})


class ProblemPages:
    """ASGI middleware around everything else.

    A browser that asks for a page is shown the problem as one, or the sign-in page where that is the problem; a page
    that asks for a part of itself gets the problem as such a part. Programs get the problem document as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not (_asks_for_part(scope) or _asks_for_page(scope)):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        document = b""

        async def held(message: Message) -> None:
            nonlocal start, document
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                document += message.get("body", b"")

        await self._app(scope, receive, held)
        if start is not None:
            answer = _answer(Request(scope, receive), start, document)
            await answer(scope, receive, send)


def _answer(request: Request, start: Message, document: bytes) -> Response:
    problem, status = RankSearchError.from_problem(json.loads(document)), start["status"]
    part = _asks_for_part(request.scope)
    signing_in = (request.method, request.url.path) in OPEN_OPERATIONS
    if problem.code in _NOT_SIGNED_IN and not signing_in:
        address = _sign_in_address(request, part=part)
        # A redirection of a part would put the sign-in page into the page: htmx follows this header instead.
        answer = (
            Response(status_code=status, headers={"hx-redirect": address}) if part else RedirectResponse(address, 303)
        )
        answer.headers.update(PAGE_HEADERS)
    else:
        shell = Shell(request)
        answer = shell.problem_part(problem, status) if part else shell.problem(problem, status)
    headers = MutableHeaders(raw=answer.raw_headers)
    for name, value in Headers(raw=start["headers"]).items():
        if name not in _OF_THE_DOCUMENT:
            headers.setdefault(name, value)
    return answer


def _sign_in_address(request: Request, *, part: bool) -> str:
    """Where to sign in, and where to go then: to the page that is open, or that was asked for."""
    url = urlsplit(request.headers.get("hx-current-url", "") if part else str(request.url))
    back = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return SIGN_IN_PATH if back == "/" else f"{SIGN_IN_PATH}?next={quote(back, safe='/')}"


def _asks_for_part(scope: Scope) -> bool:
    return Headers(scope=scope).get("hx-request") == "true"


def _asks_for_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("application/problem+json")
