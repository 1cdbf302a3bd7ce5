"""Insert a row unless there is one: the same on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.storage.tables import Table

__all__ = ["insert_absent"]


def insert_absent(session: Session, table: type[Table], **values: Any) -> bool:  # noqa: ANN401 - any column's value
    """Insert a row; False where one with its key is there already.

    Waits for another transaction that is inserting or deleting that row: what it answers holds until the end of the
    caller's transaction, in which nobody else can insert the row.
    """
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    key = inspect(table).primary_key[0]
    # A row that comes back was inserted; of the count of rows, drivers say what they like.
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(statement).first() is not None
