"""Users, projects, API tokens and the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from ranksearch.contracts.base import Name, Request, Resource, Timestamp

__all__ = [
    "SCOPES",
    "AuditEvent",
    "Handle",
    "NewToken",
    "Project",
    "ProjectChange",
    "ProjectRequest",
    "Scope",
    "SignIn",
    "SignedIn",
    "Token",
    "TokenRequest",
    "User",
    "UserChange",
    "UserRequest",
    "WhoAmI",
]

Scope = Literal["read", "submit", "work", "admin"]
"""``read``: look at the project's things; ``submit``: upload, submit, pause, cancel, and read; ``work``: what workers
do, for all projects; ``admin``: everything, in all projects."""
SCOPES: tuple[Scope, ...] = get_args(Scope)


Handle = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w][\w .@+-]*$")]
"""A name by which users and projects are addressed: letters, digits, ``_ . @ + -`` and blanks."""


class TokenRequest(Request):
    """``POST /v1/tokens``. Only an administrator may make one for somebody else."""

    name: Name
    scopes: list[Scope] = Field(default=["read", "submit"], min_length=1)
    user: Name | None = Field(default=None, description="name; None: the one who asks")
    project: Name | None = Field(default=None, description="name; None: the one of the token that asks")
    expires_in_days: float | None = Field(default=90, gt=0, le=3660, description="None: never")


class Token(Resource):
    """An API token, without its secret."""

    id: str
    name: Name
    user: str
    project: str
    scopes: list[Scope]
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None
    last_used_at: Timestamp | None = None


class NewToken(Token):
    """A token that was just made: the only time that its secret is shown."""

    secret: str = Field(repr=False)


class UserRequest(Request):
    """``POST /v1/users``."""

    name: Handle
    subject: str | None = Field(
        default=None, min_length=1, max_length=255, description="by which the provider of single sign-on knows them"
    )
    projects: list[Handle] = Field(default=["default"], min_length=1, max_length=1000)
    weight: float = Field(default=1, gt=0, le=1000, description="share of the fleet beside others")
    max_parallel: int | None = Field(default=None, ge=1, description="jobs that run for this user at once, at most")


class UserChange(Request):
    """``PATCH /v1/users/{name}``: what is left out stays as it is. A disabled user's tokens open nothing."""

    subject: str | None = Field(default=None, min_length=1, max_length=255)
    projects: list[Handle] | None = Field(default=None, min_length=1, max_length=1000, description="all of them, anew")
    weight: float | None = Field(default=None, gt=0, le=1000)
    max_parallel: int | None = Field(default=None, ge=1, description="null: no limit")
    disabled: bool | None = None


class User(Resource):
    """Somebody who submits studies or runs workers."""

    id: str
    name: Name
    subject: str | None = Field(default=None, description="by which the provider of single sign-on knows them")
    projects: list[str]
    weight: float
    max_parallel: int | None = None
    usage_seconds: float = Field(description="worker-seconds that the fair queue has charged")
    disabled: bool = False
    created_at: Timestamp


class ProjectRequest(Request):
    """``POST /v1/projects``."""

    name: Handle
    max_bytes: int | None = Field(default=None, ge=1, lt=2**62, description="that its documents may take")


class ProjectChange(Request):
    """``PATCH /v1/projects/{name}``: what is left out stays as it is."""

    max_bytes: int | None = Field(default=None, ge=1, lt=2**62, description="null: no limit")
    members: list[Handle] | None = Field(default=None, max_length=10_000, description="all of them, anew")


class Project(Resource):
    """What a group of users shares."""

    id: str
    name: Name
    max_bytes: int | None = None
    used_bytes: int
    members: list[str]
    created_at: Timestamp


class WhoAmI(Resource):
    """``GET /v1/whoami``."""

    user: str
    project: str
    scopes: list[Scope]
    token: str | None = Field(default=None, description="id of the token")
    expires_at: Timestamp | None = None


class SignIn(Request):
    """``POST /v1/session``."""

    token: str = Field(min_length=1, max_length=500, repr=False)


class SignedIn(WhoAmI):
    """A browser's session; ``csrf`` goes into the header ``X-CSRF-Token`` of whatever changes something."""

    csrf: str = Field(repr=False)


class AuditEvent(Resource):
    """Somebody did something."""

    id: int
    action: Annotated[str, Field(description='such as "study.submit" or "token.revoke"')]
    created_at: Timestamp
    user: str | None = Field(default=None, description="name")
    project: str | None = Field(default=None, description="name")
    token: str | None = Field(default=None, description="id")
    subject: str | None = Field(default=None, description="id of what it was done to")
    request_id: str | None = None
    detail: dict[str, Any] | None = None
