from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from pydantic import BaseModel

from ranksearch.client.transport import Transport, segment
from ranksearch.contracts.access import (
    AuditEvent,
    NewToken,
    Project,
    ProjectChange,
    ProjectRequest,
    Scope,
    Token,
    TokenRequest,
    User,
    UserChange,
    UserRequest,
)

__all__ = ["Audit", "Projects", "Tokens", "Users"]


class Tokens:
    """API tokens: ``client.tokens``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, user: str | None = None, *, everybody: bool = False) -> Iterator[Token]:
        """One's own, newest first; an administrator may ask for another user's, by name or id, or for everybody's."""
        return self._transport.pages(Token, "/v1/tokens", user=user, everybody=everybody or None)

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = ("read", "submit"),
        user: str | None = None,
        project: str | None = None,
        expires_in_days: float | None = 90,
    ) -> NewToken:
        """Make a token; its ``secret`` is answered this once.

        Args:
            name: what it is for.
            scopes: what it allows; none that this client's own token lacks.
            user: whose; None: one's own. Administrators alone may name another.
            project: whose things it opens; None: that of this client's token.
            expires_in_days: None: never.

        Raises:
            AccessError: ``token_scope``.
            NotFoundError: no such user or project.
        """
        wanted = TokenRequest(name=name, scopes=[*scopes], user=user, project=project, expires_in_days=expires_in_days)
        response = self._transport.request("POST", "/v1/tokens", repeatable=False, json=wanted)
        return self._transport.parsed(NewToken, response)

    def revoke(self, token: str) -> None:
        """Have a token open nothing any more, by its id. Repeated, it does nothing."""
        self._transport.request("DELETE", f"/v1/tokens/{segment(token)}", repeatable=True)


class Users:
    """Users, for administrators: ``client.users``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[User]:
        """All of them, newest first."""
        return self._transport.pages(User, "/v1/users")

    def create(
        self,
        name: str,
        *,
        projects: Sequence[str] = ("default",),
        weight: float = 1.0,
        max_parallel: int | None = None,
        subject: str | None = None,
    ) -> User:
        """Make a user.

        Args:
            name: to be addressed by.
            projects: by name.
            weight: share of the fleet beside others.
            max_parallel: jobs that run for this user at once, at most; None: any number.
            subject: by which the provider of single sign-on knows them.
        """
        wanted = UserRequest(name=name, projects=[*projects], weight=weight, max_parallel=max_parallel, subject=subject)
        response = self._transport.request("POST", "/v1/users", repeatable=False, json=wanted)
        return self._transport.parsed(User, response)

    def change(self, user: str, **changes: Any) -> User:  # noqa: ANN401 - the members of UserChange
        """Change what is named: members of :class:`~ranksearch.contracts.access.UserChange`, such as ``disabled``."""
        response = _changed(self._transport, f"/v1/users/{segment(user)}", UserChange(**changes))
        return self._transport.parsed(User, response)


class Projects:
    """What groups of users share, for administrators: ``client.projects``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Project]:
        """All of them, newest first."""
        return self._transport.pages(Project, "/v1/projects")

    def create(self, name: str, *, max_bytes: int | None = None) -> Project:
        """Make a project; ``max_bytes`` bounds what its documents take."""
        wanted = ProjectRequest(name=name, max_bytes=max_bytes)
        response = self._transport.request("POST", "/v1/projects", repeatable=False, json=wanted)
        return self._transport.parsed(Project, response)

    def change(self, project: str, **changes: Any) -> Project:  # noqa: ANN401 - the members of ProjectChange
        """Change what is named: members of :class:`~ranksearch.contracts.access.ProjectChange`."""
        response = _changed(self._transport, f"/v1/projects/{segment(project)}", ProjectChange(**changes))
        return self._transport.parsed(Project, response)


class Audit:
    """Who did what, for administrators: ``client.audit``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, action: str | None = None, user: str | None = None) -> Iterator[AuditEvent]:
        """Newest first; of one ``action`` (or a kind of them: ``study.``) or one user."""
        return self._transport.pages(AuditEvent, "/v1/audit", action=action, user=user)


def _changed(transport: Transport, path: str, wanted: BaseModel) -> httpx.Response:
    """What is not named stays as it is, and so is not sent."""
    body = wanted.model_dump_json(exclude_unset=True).encode()
    headers = {"Content-Type": "application/json"}
    return transport.request("PATCH", path, repeatable=True, body=lambda: iter([body]), headers=headers)
