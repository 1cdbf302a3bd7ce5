"""Users and projects by their names or ids."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import NotFoundError
from service.storage.tables import ProjectRow, UserRow

__all__ = ["project_named", "user_named"]


def user_named(session: Session, name: str, *, lock: bool = False) -> UserRow:
    """A user by name or id; locked until the transaction ends where asked for.

    Raises:
        NotFoundError: ``user_not_found``.
    """
    query = select(UserRow).where(or_(UserRow.name == name, UserRow.id == name)).order_by(UserRow.id != name).limit(1)
    row = session.scalars(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFoundError("user_not_found", "there is no such user", got=name, mend="`ranksearch users` lists them")
    return row


def project_named(session: Session, name: str, *, lock: bool = False) -> ProjectRow:
    """A project by name or id; locked until the transaction ends where asked for.

    Raises:
        NotFoundError: ``project_not_found``.
    """
    named = or_(ProjectRow.name == name, ProjectRow.id == name)
    query = select(ProjectRow).where(named).order_by(ProjectRow.id != name).limit(1)
    row = session.scalars(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFoundError(
            "project_not_found", "there is no such project", got=name, mend="`ranksearch projects` lists them"
        )
    return row
