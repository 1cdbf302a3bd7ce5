"""Sessions of browsers: opened with a token or by single sign-on, and ended with it.

A session is a random cookie, kept as its hash, beside a token: it may do what the token may, for as long as the token
opens anything, is used now and then, and is not too old (:mod:`service.access.credentials`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.access import SignedIn
from ranksearch.contracts.errors import AccessError
from service.access.audit import record
from service.access.credentials import IDLE_SECONDS, Credential, credential_of_token
from service.access.principal import Principal
from service.access.secret import hashed, new_secret
from service.access.whoami import who_is
from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.tables import SessionRow, TokenRow

__all__ = ["SSO_TOKENS", "Opened", "note_refusal", "open_session", "sign_in", "sign_out", "signed_in"]

SSO_TOKENS = "tok_sso_"
"""With this the ids of tokens begin that single sign-on makes for a session, and that end with it."""


@dataclass(frozen=True)
class Opened:
    """A session that was just opened; ``cookie`` is known to nobody else."""

    cookie: str
    caller: Principal


def sign_in(database: Database, secret: str, address: str, request: str | None = None) -> Opened:
    """Open a session with a token.

    Args:
        database: where sessions are kept.
        secret: the token.
        address: of the client, for the audit.
        request: id of the request, for the audit.

    Raises:
        AccessError: the token opens nothing.
    """
    try:
        with database.writing() as session:
            caller = credential_of_token(session, secret).caller
            return open_session(session, caller, address=address, by="token", request=request)
    except AccessError as refusal:
        note_refusal(database, refusal, address=address, by="token")
        raise


def open_session(session: Session, caller: Principal, *, address: str, by: str, request: str | None = None) -> Opened:
    """Open a session beside the caller's token; sessions that have ended are forgotten."""
    _forget_ended(session)
    cookie = new_secret()
    session.add(
        SessionRow(
            id=hashed(cookie),
            token_id=caller.token,
            csrf=secrets.token_urlsafe(32),
            created_at=database_now(),
            expires_at=database_now() + IDLE_SECONDS,
        )
    )
    known = Principal(caller.user, caller.project, caller.scopes, caller.token, request)
    record(session, known, "session.open", caller.token, by=by, address=address)
    return Opened(cookie, known)


def note_refusal(database: Database, refusal: AccessError, *, address: str, by: str) -> None:
    """Have the audit say that somebody was not let in."""
    with database.writing() as session:
        record(session, None, "session.refuse", None, by=by, address=address, code=refusal.code)


def signed_in(database: Database, credential: Credential) -> SignedIn:
    """The session that a request came with.

    Raises:
        AccessError: ``session_expired``: it came with none.
    """
    who = who_is(database, credential.caller)
    with database.reading() as session:
        row = None if credential.session is None else session.get(SessionRow, credential.session)
        if row is None:
            raise AccessError("session_expired", "this request belongs to no session", mend="sign in: POST /v1/session")
        return SignedIn(**{**who.model_dump(), "expires_at": moment(row.expires_at)}, csrf=row.csrf)


def sign_out(database: Database, credential: Credential) -> None:
    """End the session that a request came with; a request without one changes nothing."""
    if credential.session is None:
        return
    with database.writing() as session:
        session.execute(delete(SessionRow).where(SessionRow.id == credential.session))
        token = credential.caller.token or ""
        if token.startswith(SSO_TOKENS):
            session.execute(update(TokenRow).where(TokenRow.id == token).values(revoked_at=database_now()))
        record(session, credential.caller, "session.close", credential.caller.token)


def _forget_ended(session: Session) -> None:
    session.execute(delete(SessionRow).where(SessionRow.expires_at < database_now()))
    in_use = exists(select(SessionRow.id).where(SessionRow.token_id == TokenRow.id))
    ended = (TokenRow.id.startswith(SSO_TOKENS, autoescape=True), TokenRow.expires_at < database_now(), ~in_use)
    session.execute(delete(TokenRow).where(*ended).execution_options(synchronize_session=False))
