"""What the database says of a secret: whose it is, and whether it opens anything now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import AccessError
from service.access.principal import Principal
from service.access.secret import hashed
from service.storage.clock import database_now
from service.storage.tables import MemberRow, SessionRow, TokenRow, UserRow

__all__ = [
    "IDLE_SECONDS",
    "LONGEST_SECONDS",
    "NOTE_SECONDS",
    "Credential",
    "check_alive",
    "credential_of_cookie",
    "credential_of_token",
    "open_tokens",
]

IDLE_SECONDS = 12 * 3600.0
"""A session ends when it was not used for so long,"""
LONGEST_SECONDS = 7 * 86_400.0
"""and after so long however much it was used."""
NOTE_SECONDS = 60.0
"""That a token or a session is used is written down this often."""


@dataclass(frozen=True)
class Credential:
    """A secret that opens something.

    Args:
        caller: for whom, and what it may do.
        seconds: for how long from now, unless it is revoked.
        noted: whether that it is in use was written down lately.
        session: id of the browser's session, where the secret is a session's cookie.
        csrf: what that session's unsafe requests have to show besides.
    """

    caller: Principal
    seconds: float
    noted: bool
    session: str | None = None
    csrf: str | None = None


def credential_of_token(session: Session, secret: str) -> Credential:
    """Whose token it is.

    Raises:
        AccessError: nobody's, or not any more.
    """
    row = session.execute(_tokens().where(TokenRow.hash == hashed(secret))).first()
    if row is None:
        raise AccessError(
            "token_invalid",
            "this is no token of this service",
            mend="use a token that `ranksearch tokens create` made, or the one in the file `token` of the service's"
            " data directory",
        )
    _check_opens(row)
    noted = row.last_used_at is not None and row.now - row.last_used_at < NOTE_SECONDS
    return Credential(_principal(row), _left(row.expires_at, row.now), noted)


def credential_of_cookie(session: Session, secret: str) -> Credential:
    """Whose session it is.

    Raises:
        AccessError: nobody's, or not any more.
    """
    sessions = _tokens().add_columns(
        SessionRow.id.label("session"), SessionRow.csrf, SessionRow.created_at, SessionRow.expires_at.label("ends_at")
    )
    mine = sessions.join(SessionRow, SessionRow.token_id == TokenRow.id).where(SessionRow.id == hashed(secret))
    row = session.execute(mine).first()
    if row is None or row.ends_at <= row.now:
        raise AccessError("session_expired", "this session has ended", mend="sign in again")
    _check_opens(row)
    newest = min(IDLE_SECONDS, row.created_at + LONGEST_SECONDS - row.now)
    left = min(row.ends_at - row.now, _left(row.expires_at, row.now))
    noted = row.ends_at - row.now > newest - NOTE_SECONDS
    return Credential(_principal(row), left, noted, row.session, row.csrf)


def check_alive(session: Session, token: str) -> float:
    """For how many seconds a token that let somebody in before still opens, unless it is revoked.

    Args:
        session: of the database.
        token: its id.

    Raises:
        AccessError: it opens nothing any more.
    """
    row = session.execute(_tokens().where(TokenRow.id == token)).first()
    if row is None:
        raise AccessError("token_revoked", "this token was deleted", mend="ask for another token")
    _check_opens(row)
    return _left(row.expires_at, row.now)


def open_tokens(session: Session, tokens: Collection[str]) -> set[str]:
    """Those of these tokens, by id, that open something now."""
    return {row.id for row in session.execute(_tokens().where(TokenRow.id.in_(tokens))) if _opens(row)}


def _tokens() -> Select[*tuple[Any, ...]]:
    is_member = and_(MemberRow.project_id == TokenRow.project_id, MemberRow.user_id == TokenRow.user_id)
    return (
        select(
            TokenRow.id,
            TokenRow.user_id,
            TokenRow.project_id,
            TokenRow.scopes,
            TokenRow.expires_at,
            TokenRow.revoked_at,
            TokenRow.last_used_at,
            UserRow.disabled,
            MemberRow.user_id.label("member"),
            database_now().label("now"),
        )
        .join(UserRow, UserRow.id == TokenRow.user_id)
        .outerjoin(MemberRow, is_member)
    )


def _check_opens(row: Any) -> None:  # noqa: ANN401 - a row of _tokens
    if row.revoked_at is not None:
        raise AccessError("token_revoked", "this token was revoked", mend="ask for another token")
    if row.disabled:
        raise AccessError("token_revoked", "this token's user is disabled", mend="ask an administrator")
    if row.member is None:
        raise AccessError("token_revoked", "this token's user has left its project", mend="ask an administrator")
    if row.expires_at is not None and row.expires_at <= row.now:
        raise AccessError("token_expired", "this token has expired", mend="make another: ranksearch tokens create")


def _opens(row: Any) -> bool:  # noqa: ANN401 - as above
    try:
        _check_opens(row)
    except AccessError:
        return False
    return True


def _principal(row: Any) -> Principal:  # noqa: ANN401 - a row of _tokens
    return Principal(row.user_id, row.project_id, frozenset(row.scopes), row.id)


def _left(expires_at: float | None, now: float) -> float:
    return float("inf") if expires_at is None else expires_at - now
