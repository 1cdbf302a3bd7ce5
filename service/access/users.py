"""Users: made, changed, disabled, listed. For administrators."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ranksearch.contracts.access import User, UserChange, UserRequest
from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import ConflictError
from service.access.audit import record
from service.access.people import project_named, user_named
from service.access.principal import Principal
from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.identifiers import new_id
from service.storage.paging import newest_first
from service.storage.tables import LOCAL_USER, MemberRow, ProjectRow, UserRow

__all__ = ["change_user", "create_user", "list_users"]


def create_user(database: Database, caller: Principal, wanted: UserRequest, subject: str | None = None) -> User:
    """Make a user.

    Args:
        database: where users are kept.
        caller: an administrator.
        wanted: who.
        subject: issuer and subject of single sign-on.

    Raises:
        ConflictError: ``name_taken``: the name or the subject is somebody's.
        NotFoundError: no such project.
    """
    try:
        with database.writing() as session:
            row = UserRow(
                id=new_id("usr"),
                name=wanted.name,
                subject=subject,
                weight=wanted.weight,
                max_parallel=wanted.max_parallel,
                created_at=database_now(),
            )
            session.add(row)
            session.flush()
            _join(session, row, wanted.projects)
            record(session, caller, "user.create", row.id, name=row.name, projects=wanted.projects)
            session.flush()
            session.refresh(row)
            return _view(session, row)
    except IntegrityError:
        raise _taken(wanted.name) from None


def change_user(
    database: Database, caller: Principal, name: str, wanted: UserChange, subject: str | None = None
) -> User:
    """Change what is given of a user; what is left out stays as it is.

    Raises:
        NotFoundError: no such user, or no such project.
        ConflictError: ``in_use``: the local user, whose token is the service's, cannot be disabled.
    """
    given = wanted.model_fields_set
    try:
        with database.writing() as session:
            row = user_named(session, name, lock=True)
            if row.id == LOCAL_USER and wanted.disabled:
                raise ConflictError("in_use", "the user of the service's own token cannot be disabled", got=row.name)
            row.subject = subject if "subject" in given else row.subject
            row.weight = row.weight if wanted.weight is None else wanted.weight
            row.max_parallel = wanted.max_parallel if "max_parallel" in given else row.max_parallel
            row.disabled = row.disabled if wanted.disabled is None else wanted.disabled
            if wanted.projects is not None:
                session.execute(delete(MemberRow).where(MemberRow.user_id == row.id))
                _join(session, row, wanted.projects)
            record(session, caller, "user.change", row.id, **wanted.model_dump(mode="json", include=given))
            session.flush()
            return _view(session, row)
    except IntegrityError:
        raise _taken(wanted.subject) from None


def list_users(database: Database, cursor: str | None, limit: int) -> Page[User]:
    """All users, newest first."""
    with database.reading() as session:
        rows, following = newest_first(session, select(UserRow), UserRow, cursor, limit)
        return Page(items=[_view(session, row) for row in rows], next=following)


def _join(session: Session, user: UserRow, projects: Sequence[str]) -> None:
    found = {project_named(session, name).id for name in projects}
    session.add_all(MemberRow(project_id=project, user_id=user.id) for project in sorted(found))


def _view(session: Session, row: UserRow) -> User:
    projects = select(ProjectRow.name).join(MemberRow, MemberRow.project_id == ProjectRow.id)
    return User(
        id=row.id,
        name=row.name,
        subject=None if row.subject is None else row.subject.rpartition(" ")[2],
        projects=list(session.scalars(projects.where(MemberRow.user_id == row.id).order_by(ProjectRow.name))),
        weight=row.weight,
        max_parallel=row.max_parallel,
        usage_seconds=row.usage_seconds,
        disabled=row.disabled,
        created_at=moment(row.created_at),
    )


def _taken(name: str | None) -> ConflictError:
    return ConflictError("name_taken", "another user has this name, or this subject", got=name, mend="give another one")
