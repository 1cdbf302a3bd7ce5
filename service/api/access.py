"""Who may ask. One token for everybody today; the seam is :class:`TokenVerifier`."""

from __future__ import annotations

import hmac
from typing import Protocol

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from ranksearch.contracts.errors import AccessError
from service.api.problems import problem_response
from service.api.uploads import drain

__all__ = ["OPEN_PATHS", "Gate", "OneToken", "TokenVerifier", "documented_scheme"]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What anybody may see: that the service lives, and whether it can work."""

documented_scheme = HTTPBearer(
    auto_error=False, description="the service's token: the file `token` in its data directory"
)
"""For the OpenAPI description; the :class:`Gate` does the checking."""

_MEND = "use the token from the file `token` in the service's data directory"


class TokenVerifier(Protocol):
    """Decides whether a token may use the API."""

    def verify(self, token: str) -> None:
        """Return when it may.

        Raises:
            AccessError: it may not.
        """
        ...


class OneToken:
    """Everybody has the same token. Compared in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def verify(self, token: str) -> None:
        """See :class:`TokenVerifier`."""
        if not hmac.compare_digest(token.encode(), self._token):
            raise AccessError("token_invalid", "this is not the service's token", mend=_MEND)


class Gate:
    """ASGI middleware in front of every route, known or not: no token, no answer. Runs before any body is read.

    Args:
        app: what it protects.
        verifier: decides.
        open_paths: what needs no token.
    """

    def __init__(self, app: ASGIApp, verifier: TokenVerifier, open_paths: frozenset[str] = OPEN_PATHS) -> None:
        self._app = app
        self._verifier = verifier
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            request = Request(scope, receive)
            try:
                self._verifier.verify(_bearer(request))
            except AccessError as problem:
                await drain(request)
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AccessError(
            "token_missing",
            "the request carries no token",
            expected="the header Authorization: Bearer <token>",
            mend=_MEND,
        )
    return token.strip()
