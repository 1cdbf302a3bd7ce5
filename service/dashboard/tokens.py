"""Tokens: one's own or, for administrators, everybody's, with the users and projects that there are."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from ranksearch.contracts.access import SCOPES, Token, TokenRequest
from service.access import projects, users
from service.access.bootstrap import BOOTSTRAP_TOKEN
from service.access.tokens import list_tokens
from service.api.access import Reader
from service.api.dependencies import Cursor, TheBackend
from service.dashboard.rendering import TheShell

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_ROWS = 50
_PEOPLE = 200


@router.get("/tokens")
def tokens(backend: TheBackend, caller: Reader, shell: TheShell, cursor: Cursor = None) -> HTMLResponse:
    """The newest first, page by page."""
    is_administrator = caller.may("admin")
    found = list_tokens(backend.database, caller, cursor, _ROWS, everybody=is_administrator)
    people = users.list_users(backend.database, None, _PEOPLE) if is_administrator else None
    places = projects.list_projects(backend.database, None, _PEOPLE) if is_administrator else None
    return shell.page(
        "tokens.html",
        tokens=[(token, _state(token)) for token in found.items],
        following=found.next,
        first=cursor is None,
        users=[] if people is None else people.items,
        projects=[] if places is None else places.items,
        more_people=any(some is not None and some.next is not None for some in (people, places)),
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        usual_scopes=TokenRequest.model_fields["scopes"].default,
        usual_days=TokenRequest.model_fields["expires_in_days"].default,
        unrevokable=BOOTSTRAP_TOKEN,
        mine=caller.token,
    )


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else "active"
