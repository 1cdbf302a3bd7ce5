"""Users, projects and tokens as a test needs them, made below the API."""

from __future__ import annotations

from typing import Any

from ranksearch.contracts.access import Scope
from service.access.secret import hashed, new_secret
from service.storage.clock import database_now
from service.storage.identifiers import new_id
from service.storage.tables import MemberRow, ProjectRow, TokenRow, UserRow
from tests.service.conftest import Running


def token_for(
    service: Running, user: str, project: str, *scopes: Scope, lives: float | None = None, token: str | None = None
) -> str:
    """The secret of a new token; the user and the project are made where they are missing."""
    secret = new_secret()
    with service.backend.writing() as session:
        user_id, project_id = f"usr_{user}", f"prj_{project}"
        if session.get(UserRow, user_id) is None:
            session.add(UserRow(id=user_id, name=user, created_at=database_now()))
        if session.get(ProjectRow, project_id) is None:
            session.add(ProjectRow(id=project_id, name=project, created_at=database_now()))
        session.flush()
        if session.get(MemberRow, (project_id, user_id)) is None:
            session.add(MemberRow(project_id=project_id, user_id=user_id))
        session.add(
            TokenRow(
                id=token or new_id("tok"),
                user_id=user_id,
                project_id=project_id,
                name=f"{user}'s",
                hash=hashed(secret),
                scopes=list(scopes or ("read", "submit")),
                created_at=database_now(),
                expires_at=None if lives is None else database_now() + lives,
            )
        )
    return secret


def bearer(secret: str) -> dict[str, Any]:
    """The header that shows a token."""
    return {"authorization": f"Bearer {secret}"}
