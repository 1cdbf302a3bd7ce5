"""The tables of users, projects, tokens, sessions and the audit. For their invariants see :mod:`.tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.table import Json, Table

__all__ = [
    "DEFAULT_PROJECT",
    "LOCAL_USER",
    "AuditRow",
    "MemberRow",
    "ProjectRow",
    "SessionRow",
    "TokenRow",
    "UserRow",
]

LOCAL_USER, DEFAULT_PROJECT = "usr_local", "prj_default"
"""Made with the schema: who owns everything on a service of one person, and what was there before there were users."""


class UserRow(Table):
    """Who submits studies or runs workers. A disabled one's tokens open nothing.

    ``weight`` is the share of the fleet beside others; ``usage_seconds`` the worker-seconds that the fair queue has
    charged so far; ``max_parallel`` bounds the jobs that run for this user at once.
    """

    __tablename__ = "rs_users"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    subject: Mapped[str | None] = mapped_column(String(400), unique=True, doc="issuer and subject of single sign-on")
    weight: Mapped[float] = mapped_column(default=1.0)
    max_parallel: Mapped[int | None]
    usage_seconds: Mapped[float] = mapped_column(default=0.0)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class ProjectRow(Table):
    """What a group of users shares; nobody else sees it. ``max_bytes`` bounds what its documents take."""

    __tablename__ = "rs_projects"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[float]


class MemberRow(Table):
    """A user of a project."""

    __tablename__ = "rs_members"

    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("rs_users.id"), primary_key=True)


class TokenRow(Table):
    """An API token: what a user may do in one project with it, and until when."""

    __tablename__ = "rs_tokens"
    __table_args__ = (Index(None, "user_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("rs_users.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("rs_projects.id"))
    name: Mapped[str] = mapped_column(String(200))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]


class SessionRow(Table):
    """A signed-in browser; ``id`` is the sha256 of its cookie. It may do what its token may."""

    __tablename__ = "rs_sessions"
    __table_args__ = (Index(None, "expires_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("rs_tokens.id"))
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float]


class AuditRow(Table):
    """Who did what to what, and when."""

    __tablename__ = "rs_audit"
    __table_args__ = (Index(None, "created_at"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    created_at: Mapped[float]
    action: Mapped[str] = mapped_column(String(50))
    user_id: Mapped[str | None] = mapped_column(String(32))
    token_id: Mapped[str | None] = mapped_column(String(32))
    project_id: Mapped[str | None] = mapped_column(String(32))
    subject: Mapped[str | None] = mapped_column(String(200), doc="the id of what it was done to")
    request_id: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[Json | None]
