"""Users, projects, API tokens and the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from ranksearch.contracts.base import Name, Request, Resource, Timestamp

__all__ = [
    "SCOPES",
    "AuditEvent",
    "NewToken",
    "Project",
    "ProjectRequest",
    "Scope",
    "Token",
    "TokenRequest",
    "User",
    "UserRequest",
    "WhoAmI",
]

Scope = Literal["read", "submit", "work", "admin"]
"""``read``: look at the project's things; ``submit``: upload, submit, pause, cancel, and read; ``work``: what workers
do, for all projects; ``admin``: everything, in all projects."""
SCOPES: tuple[Scope, ...] = get_args(Scope)


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
    """``POST /v1/users``, and ``PATCH /v1/users/{name}`` with what is to change."""

    name: Name
    projects: list[Name] = Field(default=["default"], min_length=1, max_length=1000)
    weight: float = Field(default=1, gt=0, le=1000, description="share of the fleet beside others")
    max_parallel: int | None = Field(default=None, ge=1, description="jobs that run for this user at once, at most")


class User(Resource):
    """Somebody who submits studies or runs workers."""

    id: str
    name: Name
    projects: list[str]
    weight: float
    max_parallel: int | None = None
    usage_seconds: float = Field(description="worker-seconds that the fair queue has charged")
    disabled: bool = False
    created_at: Timestamp


class ProjectRequest(Request):
    """``POST /v1/projects``."""

    name: Name
    max_bytes: int | None = Field(default=None, ge=1, lt=2**62, description="that its documents may take")


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


class AuditEvent(Resource):
    """Somebody did something."""

    id: int
    action: Annotated[str, Field(description='such as "study.submit" or "token.revoke"')]
    created_at: Timestamp
    user: str | None = None
    project: str | None = None
    token: str | None = None
    subject: str | None = Field(default=None, description="id of what it was done to")
    request_id: str | None = None
    detail: dict[str, Any] | None = None
