"""The token that a service is started with: its local user's, with all scopes, so that nobody needs to make one."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from ranksearch.contracts.access import SCOPES
from ranksearch.contracts.errors import ConflictError
from service.access.secret import hashed
from service.storage.clock import database_now
from service.storage.engine import Database
from service.storage.tables import DEFAULT_PROJECT, LOCAL_USER, MemberRow, SessionRow, TokenRow, UserRow

__all__ = ["BOOTSTRAP_TOKEN", "admit_bootstrap_token"]

BOOTSTRAP_TOKEN = "tok_bootstrap"  # noqa: S105 - the id of its row, which opens nothing


def admit_bootstrap_token(database: Database, secret: str) -> None:
    """Let ``secret`` open everything from now on, and the one before it nothing. Repeated, it changes nothing.

    Raises:
        ConflictError: it is a token that was made for somebody.
    """
    try:
        _admit(database, secret)
    except IntegrityError:  # another replica starts with the same token, and was faster
        _admit(database, secret)


def _admit(database: Database, secret: str) -> None:
    with database.writing() as session:
        same = session.scalars(select(TokenRow).where(TokenRow.hash == hashed(secret))).first()
        if same is not None and same.id != BOOTSTRAP_TOKEN:
            raise ConflictError(
                "in_use",
                "the service cannot be started with a token that was made for a user",
                got=f"{same.id} ({same.name})",
                mend="start it with another token, or with none: it makes one and keeps it in its data directory",
            )
        user = session.get_one(UserRow, LOCAL_USER)
        user.disabled = False
        if session.get(MemberRow, (DEFAULT_PROJECT, LOCAL_USER)) is None:
            session.add(MemberRow(project_id=DEFAULT_PROJECT, user_id=LOCAL_USER))
        row = session.get(TokenRow, BOOTSTRAP_TOKEN)
        if row is None:
            row = TokenRow(
                id=BOOTSTRAP_TOKEN,
                user_id=LOCAL_USER,
                project_id=DEFAULT_PROJECT,
                name="bootstrap",
                hash=hashed(secret),
                scopes=list(SCOPES),
                created_at=database_now(),
            )
            session.add(row)
        elif row.hash != hashed(secret):
            session.execute(delete(SessionRow).where(SessionRow.token_id == BOOTSTRAP_TOKEN))
            row.hash, row.created_at, row.last_used_at = hashed(secret), database_now(), None
