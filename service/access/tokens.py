"""API tokens: made, listed, revoked. A secret is answered once, when it is made, and kept as its hash alone."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ranksearch.contracts.access import NewToken, Token, TokenRequest
from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import AccessError, ConflictError, InputError, NotFoundError
from service.access.audit import record
from service.access.bootstrap import BOOTSTRAP_TOKEN
from service.access.people import project_named, user_named
from service.access.principal import Principal
from service.access.secret import hashed, new_secret
from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.identifiers import new_id
from service.storage.paging import newest_first
from service.storage.tables import MemberRow, ProjectRow, SessionRow, TokenRow, UserRow

__all__ = ["create_token", "list_tokens", "revoke_token"]

_DAY = 86_400.0


def create_token(database: Database, caller: Principal, wanted: TokenRequest) -> NewToken:
    """Make a token; nobody gives more away than they have.

    Raises:
        AccessError: ``token_scope``: it would be for somebody else, for another project, or of scopes that the
            caller's token has not, and the caller is no administrator.
        NotFoundError: no such user or project.
        InputError: the user is not of the project.
    """
    secret = new_secret()
    with database.writing() as session:
        user, project = _whose(session, caller, wanted)
        for scope in wanted.scopes:
            if not caller.may(scope):
                raise _beyond(f"a token of scope {scope}", f"scopes {', '.join(sorted(caller.scopes))}")
        days = wanted.expires_in_days
        row = TokenRow(
            id=new_id("tok"),
            user_id=user.id,
            project_id=project.id,
            name=wanted.name,
            hash=hashed(secret),
            scopes=sorted(set(wanted.scopes)),
            created_at=database_now(),
            expires_at=None if days is None else database_now() + days * _DAY,
        )
        session.add(row)
        session.flush()
        record(
            session,
            caller,
            "token.create",
            row.id,
            name=row.name,
            scopes=row.scopes,
            user=user.name,
            project=project.name,
        )
        session.refresh(row)
        return NewToken(**_view(row, user, project).model_dump(), secret=secret)


def list_tokens(
    database: Database,
    caller: Principal,
    cursor: str | None,
    limit: int,
    user: str | None = None,
    *,
    everybody: bool = False,
) -> Page[Token]:
    """The caller's tokens, newest first; an administrator may ask for a user's, or for everybody's.

    Raises:
        AccessError: ``token_scope``: somebody else's, and the caller is no administrator.
        NotFoundError: no such user.
    """
    if (user is not None or everybody) and not caller.may("admin"):
        raise _beyond("tokens of another user", "a token without the scope admin")
    with database.reading() as session:
        query = select(TokenRow)
        if user is not None:
            query = query.where(TokenRow.user_id == user_named(session, user).id)
        elif not everybody:
            query = query.where(TokenRow.user_id == caller.user)
        rows, following = newest_first(session, query, TokenRow, cursor, limit)
        return Page(items=[token_view(session, row) for row in rows], next=following)


def revoke_token(database: Database, caller: Principal, token: str) -> None:
    """Have a token, and the sessions that were opened with it, open nothing any more. Repeated, it does nothing.

    Raises:
        NotFoundError: ``token_not_found``: no such token of the caller's, who is no administrator.
        ConflictError: ``in_use``: it is the service's own.
    """
    with database.writing() as session:
        row = session.get(TokenRow, token, with_for_update=True)
        if row is None or not (caller.may("admin") or row.user_id == caller.user):
            raise NotFoundError("token_not_found", "there is no such token", got=token)
        if row.id == BOOTSTRAP_TOKEN:
            raise ConflictError(
                "in_use",
                "the service's own token cannot be revoked",
                got=row.id,
                mend="start the service with another one: remove the file `token` in its data directory",
            )
        if row.revoked_at is None:
            row.revoked_at = database_now()
            session.execute(delete(SessionRow).where(SessionRow.token_id == row.id))
            record(session, caller, "token.revoke", row.id, name=row.name)


def token_view(session: Session, row: TokenRow) -> Token:
    """A token, without its secret."""
    return _view(row, session.get_one(UserRow, row.user_id), session.get_one(ProjectRow, row.project_id))


def _view(row: TokenRow, user: UserRow, project: ProjectRow) -> Token:
    return Token.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "user": user.name,
            "project": project.name,
            "scopes": row.scopes,
            "created_at": moment(row.created_at),
            "expires_at": moment(row.expires_at),
            "revoked_at": moment(row.revoked_at),
            "last_used_at": moment(row.last_used_at),
        }
    )


def _whose(session: Session, caller: Principal, wanted: TokenRequest) -> tuple[UserRow, ProjectRow]:
    administrator = caller.may("admin")
    user = user_named(session, wanted.user or caller.user)
    project = project_named(session, wanted.project or caller.project)
    if not administrator and user.id != caller.user:
        raise _beyond("a token for another user", "a token without the scope admin")
    if not administrator and project.id != caller.project:
        raise _beyond("a token for another project", "a token of one project")
    if session.get(MemberRow, (project.id, user.id)) is None:
        raise InputError(
            "invalid_request",
            f"{user.name} is not of the project {project.name}",
            got=f"user {user.name}, project {project.name}",
            expected="a project of the user's",
            mend="add the user to the project, or name another with `project`",
        )
    return user, project


def _beyond(wanted: str, got: str) -> AccessError:
    return AccessError(
        "token_scope",
        "a token gives no more than the one that asks for it has",
        got=got,
        expected=f"what it takes for {wanted}",
        mend="ask an administrator",
    )
