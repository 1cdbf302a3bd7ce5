"""Signing in from a browser, with a token or by single sign-on, and signing out."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import RedirectResponse

from ranksearch.contracts.access import SignedIn, SignIn
from ranksearch.contracts.errors import AccessError
from service.access import sessions
from service.access.credentials import LONGEST_SECONDS
from service.access.oidc import Attempt, OidcProvider
from service.access.sessions import Opened
from service.access.single_sign_on import admit
from service.api.access import COOKIE, Anybody
from service.api.attempts import SignInAttempts
from service.api.dependencies import TheBackend, TheVerifier
from service.api.problems import PROBLEMS
from service.api.single_sign_on import provider

__all__ = ["is_local", "router"]

router = APIRouter(prefix="/v1", tags=["access"], responses=PROBLEMS)

_ATTEMPT_COOKIE = "ranksearch_oidc"
_OIDC_PATH = "/v1/oidc"
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")


async def _attempts(request: Request) -> SignInAttempts:
    attempts: SignInAttempts = request.app.state.sign_in_attempts
    return attempts


TheAttempts = Annotated[SignInAttempts, Depends(_attempts)]
TheProvider = Annotated[OidcProvider, Depends(provider)]


@router.post("/session", status_code=201)
def sign_in(
    request: Request,
    response: Response,
    backend: TheBackend,
    verifier: TheVerifier,
    attempts: TheAttempts,
    given: SignIn,
) -> SignedIn:
    """Sign in with a token: the session is a cookie that scripts cannot read, ``csrf`` for what changes something."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise AccessError("csrf_invalid", "a page of another site cannot sign anybody in here")
    address = _address(request)
    attempts.begin(address)
    opened = sessions.sign_in(backend.database, given.token, address, request.state.request_id)
    attempts.succeeded(address)
    _set_cookie(request, response, opened)
    return sessions.signed_in(backend.database, verifier.cookie(opened.cookie))


@router.get("/session")
def get_session(request: Request, response: Response, backend: TheBackend, _caller: Anybody) -> SignedIn:
    """Who is signed in, and the ``csrf`` of the session. 401 ``session_expired`` without one."""
    response.headers["cache-control"] = "no-store"
    return sessions.signed_in(backend.database, request.state.credential)


@router.delete("/session", status_code=204)
def sign_out(
    request: Request, response: Response, backend: TheBackend, verifier: TheVerifier, _caller: Anybody
) -> None:
    """Sign out: the cookie opens nothing any more."""
    sessions.sign_out(backend.database, request.state.credential)
    verifier.forget()
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=_is_https(request))


@router.get("/oidc/login", status_code=303, response_class=RedirectResponse)
def begin_single_sign_on(
    request: Request,
    backend: TheBackend,
    oidc: TheProvider,
    following: Annotated[
        str, Query(alias="next", max_length=2000, description="where to go then, in here")
    ] = "/v1/session",
    project: Annotated[str | None, Query(max_length=200, description="of the session; else the first by name")] = None,
) -> RedirectResponse:
    """Send the browser to the provider of single sign-on."""
    attempt = Attempt.new(project, following if is_local(following) else "/v1/session")
    response = RedirectResponse(oidc.address_for(attempt), status_code=303)
    response.set_cookie(
        _ATTEMPT_COOKIE,
        attempt.sealed(_seal(backend.settings.token)),
        max_age=600,
        path=_OIDC_PATH,
        httponly=True,
        samesite="lax",
        secure=_is_https(request),
    )
    return response


@router.get("/oidc/callback", status_code=303, response_class=RedirectResponse)
def finish_single_sign_on(
    request: Request,
    backend: TheBackend,
    oidc: TheProvider,
    attempts: TheAttempts,
    code: Annotated[str | None, Query(max_length=4000)] = None,
    state: Annotated[str | None, Query(max_length=500)] = None,
    error: Annotated[str | None, Query(max_length=500)] = None,
) -> RedirectResponse:
    """The provider sends the browser back here: exchange the code, check what it stands for, open a session."""
    address, settings = _address(request), backend.settings
    attempts.begin(address)
    try:
        attempt = Attempt.unsealed(request.cookies.get(_ATTEMPT_COOKIE), _seal(settings.token), state)
        opened = admit(
            backend.database,
            oidc.identity(_code(code, error), attempt),
            project=attempt.project,
            new_users=settings.oidc_project if settings.oidc_auto_create else None,
            address=address,
            request=request.state.request_id,
        )
    except AccessError as refusal:
        sessions.note_refusal(backend.database, refusal, address=address, by="single sign-on")
        raise
    attempts.succeeded(address)
    response = RedirectResponse(attempt.following, status_code=303)
    response.delete_cookie(_ATTEMPT_COOKIE, path=_OIDC_PATH)
    _set_cookie(request, response, opened)
    return response


def is_local(address: str) -> bool:
    """Whether it is an address of this service, without its host: nobody is sent elsewhere after signing in."""
    return _LOCAL_PATH.fullmatch(address) is not None


def _code(code: str | None, error: str | None) -> str:
    if error is not None or code is None:
        raise AccessError("sign_in_refused", "the provider did not sign anybody in", got=error)
    return code


def _set_cookie(request: Request, response: Response, opened: Opened) -> None:
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        COOKIE,
        opened.cookie,
        max_age=int(LONGEST_SECONDS),
        path="/",
        httponly=True,
        samesite="lax",
        secure=_is_https(request),
    )


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _address(request: Request) -> str:
    return "unknown" if request.client is None else request.client.host


def _seal(token: str) -> bytes:
    """The key of cookies that replicas of one service share: made of the token that they share."""
    return hashlib.sha256(b"ranksearch single sign-on\0" + token.encode()).digest()
