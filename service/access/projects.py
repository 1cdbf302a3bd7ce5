"""Projects: made, changed, listed. For administrators."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ranksearch.contracts.access import Project, ProjectChange, ProjectRequest
from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import ConflictError
from service.access.audit import record
from service.access.people import project_named, user_named
from service.access.principal import Principal
from service.access.quota import used_bytes
from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.identifiers import new_id
from service.storage.paging import newest_first
from service.storage.tables import (
    DEFAULT_PROJECT,
    LOCAL_USER,
    MemberRow,
    ProjectRow,
    UserRow,
)

__all__ = ["change_project", "create_project", "list_projects"]


def create_project(database: Database, caller: Principal, wanted: ProjectRequest) -> Project:
    """Make a project without members.

    Raises:
        ConflictError: ``name_taken``.
    """
    try:
        with database.writing() as session:
            row = ProjectRow(id=new_id("prj"), name=wanted.name, max_bytes=wanted.max_bytes, created_at=database_now())
            session.add(row)
            session.flush()
            record(session, caller, "project.create", row.id, name=row.name, max_bytes=row.max_bytes)
            session.refresh(row)
            return _view(session, row)
    except IntegrityError:
        raise ConflictError(
            "name_taken", "another project has this name", got=wanted.name, mend="give another one"
        ) from None


def change_project(database: Database, caller: Principal, name: str, wanted: ProjectChange) -> Project:
    """Change what is given of a project; what is left out stays as it is. Tokens of who is no member open nothing.

    Raises:
        NotFoundError: no such project, or no such user.
        ConflictError: ``in_use``: the local user, whose token is the service's, stays in the default project.
    """
    given = wanted.model_fields_set
    with database.writing() as session:
        row = project_named(session, name, lock=True)
        row.max_bytes = wanted.max_bytes if "max_bytes" in given else row.max_bytes
        if wanted.members is not None:
            _set_members(session, row, wanted.members)
        record(session, caller, "project.change", row.id, **wanted.model_dump(mode="json", include=given))
        session.flush()
        return _view(session, row)


def list_projects(database: Database, cursor: str | None, limit: int) -> Page[Project]:
    """All projects, newest first."""
    with database.reading() as session:
        rows, following = newest_first(session, select(ProjectRow), ProjectRow, cursor, limit)
        return Page(items=[_view(session, row) for row in rows], next=following)


def _set_members(session: Session, project: ProjectRow, names: Sequence[str]) -> None:
    users = {user_named(session, name).id for name in names}
    if project.id == DEFAULT_PROJECT and LOCAL_USER not in users:
        raise ConflictError(
            "in_use", "the user of the service's own token stays in this project", mend="name `local` among the members"
        )
    session.execute(delete(MemberRow).where(MemberRow.project_id == project.id))
    session.add_all(MemberRow(project_id=project.id, user_id=user) for user in sorted(users))


def _view(session: Session, row: ProjectRow) -> Project:
    members = select(UserRow.name).join(MemberRow, MemberRow.user_id == UserRow.id)
    return Project(
        id=row.id,
        name=row.name,
        max_bytes=row.max_bytes,
        used_bytes=used_bytes(session, row.id),
        members=list(session.scalars(members.where(MemberRow.project_id == row.id).order_by(UserRow.name))),
        created_at=moment(row.created_at),
    )
