"""What comes at the end of nearly every transaction: its events, what users are charged, what other services hear.

With rings, which only PostgreSQL has, all of it is one statement, so one round trip; the statements are put together
once for each shape, of which there are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Double, Select, String, Text, Update, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from service.storage.tables import EventRow, UserRow

__all__ = ["CHANNEL", "say_last"]

CHANNEL: Final = "ranksearch"
"""Of PostgreSQL's LISTEN and NOTIFY."""
_COLUMNS = ("study_id", "number", "kind", "data", "created_at")
_INSERT = insert(EventRow)


def say_last(
    session: Session, events: Sequence[Mapping[str, Any]], charges: Mapping[str, float], rings: Sequence[str]
) -> None:
    """Say it; what the session holds so far is flushed before.

    Args:
        session: of a writing transaction that is about to be committed.
        events: rows of :class:`EventRow`.
        charges: user → worker-seconds to add; charged in the order of their ids, so that two never wait for each other.
        rings: what is sent on :data:`CHANNEL`.
    """
    users = sorted(charges)
    if rings:
        values: dict[str, Any] = {f"ring_{at}": ring for at, ring in enumerate(rings)}
        values |= {f"{column}_{at}": event[column] for at, event in enumerate(events) for column in _COLUMNS}
        values |= {f"user_{at}": user for at, user in enumerate(users)}
        values |= {f"seconds_{at}": charges[user] for at, user in enumerate(users)}
        session.flush()
        session.execute(_in_one(len(events), len(users), len(rings)), values)
        return
    if events:
        session.execute(_INSERT, [dict(event) for event in events])
    for user in users:
        session.execute(_charge(0), {"user_0": user, "seconds_0": charges[user]})


@lru_cache(maxsize=64)
def _in_one(events: int, users: int, rings: int) -> Select[Any]:
    told = [
        insert(EventRow).values({column: bindparam(f"{column}_{at}") for column in _COLUMNS}).cte(f"event_{at}")
        for at in range(events)
    ]
    charged = [_charge(at).cte(f"charge_{at}") for at in range(users)]
    rung = [func.pg_notify(CHANNEL, bindparam(f"ring_{at}", type_=Text)) for at in range(rings)]
    return select(*rung).add_cte(*told, *charged)


@lru_cache(maxsize=8)
def _charge(at: int) -> Update:
    seconds, user = bindparam(f"seconds_{at}", type_=Double), bindparam(f"user_{at}", type_=String)
    return update(UserRow).where(UserRow.id == user).values(usage_seconds=UserRow.usage_seconds + seconds)
