"""The record of who did what. Events are only ever added, in the transaction that does what they tell of."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from service.access.principal import Principal
from service.storage.clock import database_now
from service.storage.tables import AuditRow

__all__ = ["record"]


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
