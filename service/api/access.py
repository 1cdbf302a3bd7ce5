"""Who may ask: the gate in front of every route, and the scopes that routes declare."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from ranksearch.contracts.access import Scope
from ranksearch.contracts.errors import AccessError
from ranksearch.contracts.loglines import note
from service.access.credentials import Credential
from service.access.principal import NOBODY, Principal
from service.access.verification import Verifier
from service.api.problems import problem_response
from service.api.uploads import drain

__all__ = [
    "COOKIE",
    "OPEN_OPERATIONS",
    "OPEN_PATHS",
    "Administrator",
    "Anybody",
    "Gate",
    "Needs",
    "Operation",
    "Reader",
    "ReaderOrAgent",
    "Submitter",
    "WorkingAgent",
    "check_routes",
    "documented_scheme",
    "operations",
]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What anybody may see: that the service lives, and whether it can work."""
OPEN_OPERATIONS = frozenset({("POST", "/v1/session"), ("GET", "/v1/oidc/login"), ("GET", "/v1/oidc/callback")})
"""Of other addresses, what anybody may do: sign in."""
COOKIE = "ranksearch_session"
"""Of a browser that has signed in."""

documented_scheme = HTTPBearer(
    auto_error=False, description="a token: `ranksearch tokens create`, or the file `token` in the data directory"
)
"""For the OpenAPI description; the :class:`Gate` does the checking."""

_MEND = "send a token that `ranksearch tokens create` made, or the one in the file `token` of the data directory"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware in front of every route, known or not: no token, no answer. Runs before any body is read.

    Whoever is let in stands in ``request.state.credential``; None at an address that is open.

    Args:
        app: what it protects.
        open_paths: what needs no token.
        open_below: the same, for all paths that begin with one of these.
    """

    def __init__(self, app: ASGIApp, open_paths: frozenset[str] = OPEN_PATHS, open_below: tuple[str, ...] = ()) -> None:
        self._app = app
        self._open_paths = open_paths
        self._open_below = open_below

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            try:
                is_open = _is_open(scope["method"], scope["path"], self._open_paths, self._open_below)
                request.state.credential = None if is_open else await _credential(request)
            except AccessError as problem:
                await drain(request)
                await problem_response(problem)(scope, receive, send)
                return
            if request.state.credential is not None:
                caller = request.state.credential.caller
                note(user=caller.user, project=caller.project, token_id=caller.token)
        await self._app(scope, receive, send)


class Needs:
    """A route's dependency: the caller, who must have one of these scopes; without any, whoever has a token.

    At an address that this service leaves open it is nobody.
    """

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes

    async def __call__(self, request: Request) -> Principal:
        """The caller.

        Raises:
            AccessError: ``token_scope``.
        """
        credential: Credential | None = request.state.credential
        if credential is None:
            return NOBODY
        caller = credential.caller
        if self.scopes and not any(caller.may(scope) for scope in self.scopes):
            raise AccessError(
                "token_scope",
                "this token does not allow that",
                got=f"scopes {', '.join(sorted(caller.scopes))}",
                expected=f"scope {' or '.join(self.scopes)}",
                mend="use a token with that scope; `ranksearch tokens create --scopes` makes one",
            )
        return dataclasses.replace(caller, request=getattr(request.state, "request_id", None))


Anybody = Annotated[Principal, Depends(Needs())]
Reader = Annotated[Principal, Depends(Needs("read"))]
ReaderOrAgent = Annotated[Principal, Depends(Needs("read", "work"))]
Submitter = Annotated[Principal, Depends(Needs("submit"))]
WorkingAgent = Annotated[Principal, Depends(Needs("work"))]
Administrator = Annotated[Principal, Depends(Needs("admin"))]


class Operation(NamedTuple):
    """One method of one address, and the scopes of which its caller needs one; None: nothing is said about that."""

    method: str
    path: str
    scopes: tuple[Scope, ...] | None


def operations(app: FastAPI) -> Iterator[Operation]:
    """All that can be asked of an application, besides the description of its API."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            needs = [one.call for one in _dependencies(route.dependant) if isinstance(one.call, Needs)]
            for method in sorted(route.methods or ()):
                yield Operation(method, route.path or "", needs[0].scopes if needs else None)


def check_routes(app: FastAPI, open_paths: frozenset[str] = OPEN_PATHS, open_below: tuple[str, ...] = ()) -> None:
    """Refuse an application with a route that everybody with any token could use without that being said.

    Raises:
        RuntimeError: a route that is not open takes no caller.
    """
    for method, path, scopes in operations(app):
        if scopes is None and not _is_open(method, path, open_paths, open_below):
            raise RuntimeError(f"{method} {path} does not say which scope it needs")


def _is_open(method: str, path: str, open_paths: frozenset[str], open_below: tuple[str, ...]) -> bool:
    return path in open_paths or (method, path) in OPEN_OPERATIONS or (bool(open_below) and path.startswith(open_below))


async def _credential(request: Request) -> Credential:
    """Whose request this is, by its token or by its cookie; the database is asked off the event loop.

    Raises:
        AccessError: nobody's.
    """
    verifier: Verifier = request.app.state.verifier
    cookie = request.cookies.get(COOKIE)
    if cookie is not None and "authorization" not in request.headers:
        signed_in = verifier.remembered(cookie, cookie=True)
        if signed_in is None:
            signed_in = await run_in_threadpool(verifier.cookie, cookie)
        _check_csrf(request, signed_in)
        return signed_in
    token = _bearer(request)
    known = verifier.remembered(token)
    return await run_in_threadpool(verifier.token, token) if known is None else known


def _check_csrf(request: Request, credential: Credential) -> None:
    """A page of somebody else's can make a browser send its cookie, but not this header."""
    if request.method in _SAFE:
        return
    shown = request.headers.get("x-csrf-token")
    if shown is None:
        raise AccessError(
            "csrf_missing",
            "a request that changes something, with a cookie, must show the session's token",
            expected="the header X-CSRF-Token",
            mend="send the `csrf` that GET /v1/session answers",
        )
    if not hmac.compare_digest(shown.encode(), (credential.csrf or "").encode()):
        raise AccessError("csrf_invalid", "this is not the session's token", mend="take it from GET /v1/session")


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


def _dependencies(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield one
        yield from _dependencies(one)
