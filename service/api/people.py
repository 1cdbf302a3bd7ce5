"""Users, projects, tokens and the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ranksearch.contracts.access import (
    AuditEvent,
    NewToken,
    Project,
    ProjectChange,
    ProjectRequest,
    Token,
    TokenRequest,
    User,
    UserChange,
    UserRequest,
    WhoAmI,
)
from ranksearch.contracts.base import Page
from service.access import audit, projects, tokens, users
from service.access.whoami import who_is
from service.api.access import Administrator, Anybody, Reader, Submitter
from service.api.dependencies import Cursor, Limit, TheBackend, TheVerifier
from service.api.problems import PROBLEMS
from service.api.single_sign_on import subject_here

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["access"], responses=PROBLEMS)

Everybodys = Annotated[bool, Query(description="all users'; only for administrators")]
OfUser = Annotated[str | None, Query(max_length=200, description="name or id; only for administrators")]


@router.get("/whoami")
def whoami(backend: TheBackend, caller: Anybody) -> WhoAmI:
    """Whose token this is, and what it allows."""
    return who_is(backend.database, caller)


@router.get("/tokens")
def list_tokens(
    backend: TheBackend,
    caller: Reader,
    cursor: Cursor = None,
    limit: Limit = 50,
    user: OfUser = None,
    everybody: Everybodys = False,  # noqa: FBT002 - a parameter of the address
) -> Page[Token]:
    """One's own tokens, newest first; an administrator may ask for those of another ``user``, or for all."""
    return tokens.list_tokens(backend.database, caller, cursor, limit, user, everybody=everybody)


@router.post("/tokens", status_code=201)
def create_token(backend: TheBackend, caller: Submitter, response: Response, wanted: TokenRequest) -> NewToken:
    """Make a token. Its ``secret`` is shown this once; no token gives more away than it has itself."""
    made = tokens.create_token(backend.database, caller, wanted)
    response.headers["cache-control"] = "no-store"
    return made


@router.delete("/tokens/{token}", status_code=204)
def revoke_token(backend: TheBackend, verifier: TheVerifier, caller: Submitter, token: str) -> None:
    """Revoke a token, by its id: one's own, or as an administrator anybody's. Repeated, it does nothing."""
    tokens.revoke_token(backend.database, caller, token)
    verifier.forget()


@router.get("/users")
def list_users(backend: TheBackend, _caller: Administrator, cursor: Cursor = None, limit: Limit = 50) -> Page[User]:
    """All users, newest first."""
    return users.list_users(backend.database, cursor, limit)


@router.post("/users", status_code=201)
def create_user(request: Request, backend: TheBackend, caller: Administrator, wanted: UserRequest) -> User:
    """Make a user."""
    return users.create_user(backend.database, caller, wanted, subject_here(request, wanted.subject))


@router.patch("/users/{user}")
def change_user(
    request: Request, backend: TheBackend, verifier: TheVerifier, caller: Administrator, user: str, wanted: UserChange
) -> User:
    """Change a user, or disable them: then their tokens open nothing."""
    changed = users.change_user(backend.database, caller, user, wanted, subject_here(request, wanted.subject))
    verifier.forget()
    return changed


@router.get("/projects")
def list_projects(
    backend: TheBackend, _caller: Administrator, cursor: Cursor = None, limit: Limit = 50
) -> Page[Project]:
    """All projects, newest first."""
    return projects.list_projects(backend.database, cursor, limit)


@router.post("/projects", status_code=201)
def create_project(backend: TheBackend, caller: Administrator, wanted: ProjectRequest) -> Project:
    """Make a project."""
    return projects.create_project(backend.database, caller, wanted)


@router.patch("/projects/{project}")
def change_project(
    backend: TheBackend, verifier: TheVerifier, caller: Administrator, project: str, wanted: ProjectChange
) -> Project:
    """Change a project's limit or its members."""
    changed = projects.change_project(backend.database, caller, project, wanted)
    verifier.forget()
    return changed


@router.get("/audit")
def list_audit(
    backend: TheBackend,
    _caller: Administrator,
    cursor: Cursor = None,
    limit: Limit = 50,
    action: Annotated[
        str | None, Query(max_length=50, description='such as "study.submit", or "study." for all of its kind')
    ] = None,
    user: Annotated[str | None, Query(max_length=200, description="name or id")] = None,
) -> Page[AuditEvent]:
    """Who did what, the newest first."""
    return audit.list_events(backend.database, cursor, limit, action=action, user=user)
