"""The record of who did what. Events are only ever added, in the transaction that does what they tell of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.access import AuditEvent
from ranksearch.contracts.base import Page
from service.access.people import user_named
from service.access.principal import Principal
from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.paging import read_cursor, written_cursor
from service.storage.tables import AuditRow, ProjectRow, UserRow

__all__ = ["list_events", "record"]


def record(
    session: Session, caller: Principal | None, action: str, subject: str | None = None, **detail: object
) -> None:
    """Note that ``caller`` does something; it is so if, and only if, the session's transaction is committed.

    Args:
        session: of the transaction that does it.
        caller: who does it; None: nobody who is known, such as at a sign-in that is refused.
        action: what, such as ``"study.submit"``: the thing, a full stop, the verb.
        subject: id of what it is done to.
        detail: whatever else tells of it, as JSON; no secrets.
    """
    known: dict[str, Any] = (
        {}
        if caller is None
        else {
            "user_id": caller.user,
            "token_id": caller.token,
            "project_id": caller.project,
            "request_id": caller.request,
        }
    )
    session.add(AuditRow(created_at=database_now(), action=action, subject=subject, detail=detail or None, **known))


def list_events(
    database: Database, cursor: str | None, limit: int, *, action: str | None = None, user: str | None = None
) -> Page[AuditEvent]:
    """What was done, the newest first; an ``action`` that ends in a full stop stands for all that begin with it.

    Raises:
        NotFoundError: no such user.
    """
    with database.reading() as session:
        query = (
            select(AuditRow, UserRow.name, ProjectRow.name)
            .outerjoin(UserRow, UserRow.id == AuditRow.user_id)
            .outerjoin(ProjectRow, ProjectRow.id == AuditRow.project_id)
        )
        if action is not None:
            every = action.endswith(".")
            query = query.where(
                AuditRow.action.startswith(action, autoescape=True) if every else AuditRow.action == action
            )
        if user is not None:
            query = query.where(AuditRow.user_id == user_named(session, user).id)
        if cursor is not None:
            query = query.where(AuditRow.id < read_cursor(cursor, (int,))[0])
        rows = session.execute(query.order_by(AuditRow.id.desc()).limit(limit + 1)).all()
        events = [_event(row, by, where) for row, by, where in rows[:limit]]
        return Page(items=events, next=written_cursor(events[-1].id) if len(rows) > limit else None)


def _event(row: AuditRow, user: str | None, project: str | None) -> AuditEvent:
    return AuditEvent(
        id=row.id,
        action=row.action,
        created_at=moment(row.created_at),
        user=user,
        project=project,
        token=row.token_id,
        subject=row.subject,
        request_id=row.request_id,
        detail=row.detail,
    )
