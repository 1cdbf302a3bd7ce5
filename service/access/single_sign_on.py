"""A session for whom a provider of single sign-on has signed in."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ranksearch.contracts.access import Scope
from ranksearch.contracts.errors import AccessError
from service.access.audit import record
from service.access.credentials import LONGEST_SECONDS
from service.access.oidc import Identity
from service.access.people import project_named
from service.access.principal import Principal
from service.access.secret import hashed, new_secret
from service.access.sessions import SSO_TOKENS, Opened, open_session
from service.storage.clock import database_now
from service.storage.engine import Database
from service.storage.identifiers import new_id
from service.storage.tables import MemberRow, ProjectRow, TokenRow, UserRow

__all__ = ["admit"]

_SCOPES: tuple[Scope, ...] = ("read", "submit")
_LONGEST_NAME = 200


def admit(
    database: Database,
    identity: Identity,
    *,
    project: str | None,
    new_users: str | None,
    address: str,
    request: str | None = None,
) -> Opened:
    """Open a session for a user, beside a token of its own that reads and submits.

    Args:
        database: where users and sessions are kept.
        identity: whom the provider has signed in.
        project: that the session is for; None: the user's first, by name.
        new_users: the project that somebody who is not known becomes a user of; None: they are refused.
        address: of the client, for the audit.
        request: id of the request, for the audit.

    Raises:
        AccessError: ``sign_in_refused``.
        NotFoundError: ``project_not_found``: ``new_users`` does not exist.
    """
    try:
        return _admit(database, identity, project, new_users, address, request)
    except IntegrityError:  # the same person, twice at once: one of both has made the user
        return _admit(database, identity, project, new_users, address, request)


def _admit(
    database: Database,
    identity: Identity,
    project: str | None,
    new_users: str | None,
    address: str,
    request: str | None,
) -> Opened:
    with database.writing() as session:
        user = session.scalars(select(UserRow).where(UserRow.subject == identity.subject)).first()
        if user is None:
            user = _new_user(session, identity, new_users)
        if user.disabled:
            raise _refused("this user is disabled", identity)
        where = _project_of(session, user, project, identity)
        token = TokenRow(
            id=SSO_TOKENS + new_id("tok").removeprefix("tok_"),
            user_id=user.id,
            project_id=where.id,
            name="session",
            hash=hashed(new_secret()),  # of a secret that nobody keeps: the session's cookie is all that opens it
            scopes=list(_SCOPES),
            created_at=database_now(),
            expires_at=database_now() + LONGEST_SECONDS,
        )
        session.add(token)
        session.flush()
        caller = Principal(user.id, where.id, frozenset(_SCOPES), token.id)
        return open_session(session, caller, address=address, by="single sign-on", request=request)


def _new_user(session: Session, identity: Identity, project: str | None) -> UserRow:
    if project is None:
        raise _refused("nobody here is known by that account", identity)
    where = project_named(session, project)
    user = UserRow(
        id=new_id("usr"), name=_free_name(session, identity.name), subject=identity.subject, created_at=database_now()
    )
    session.add(user)
    session.flush()
    session.refresh(user)
    session.add(MemberRow(project_id=where.id, user_id=user.id))
    record(session, None, "user.create", user.id, name=user.name, projects=[where.name], by="single sign-on")
    session.flush()
    return user


def _free_name(session: Session, wanted: str) -> str:
    """The name, in characters that names may have, with a number after it where somebody else has it."""
    plain = re.sub(r"[^\w .@+-]", "-", wanted).lstrip(" .@+-")[: _LONGEST_NAME - 10] or "user"
    taken = set(session.scalars(select(UserRow.name).where(UserRow.name.startswith(plain, autoescape=True))))
    return next(name for at in range(len(taken) + 1) if (name := f"{plain}-{at + 1}" if at else plain) not in taken)


def _project_of(session: Session, user: UserRow, wanted: str | None, identity: Identity) -> ProjectRow:
    of_user = select(ProjectRow).join(MemberRow, MemberRow.project_id == ProjectRow.id)
    projects = session.scalars(of_user.where(MemberRow.user_id == user.id).order_by(ProjectRow.name)).all()
    for project in projects:
        if wanted is None or wanted in {project.name, project.id}:
            return project
    raise _refused("this user is of no such project" if projects else "this user is of no project", identity)


def _refused(detail: str, identity: Identity) -> AccessError:
    return AccessError("sign_in_refused", detail, got=identity.name, mend="ask an administrator")
