"""What comes at the end of nearly every transaction: its events, what users are charged, what other services hear.

With rings, which only PostgreSQL has, all of it is one statement, so one round trip; the statements are put together
once for each shape, of which there are few. They are of tables, not of mapped classes: nothing that a session holds is
to be brought in line with them, and to find that out takes several times as long as to send them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Double, Integer, Select, String, Text, Update, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from service.storage.tables import EventRow, StudyRow, Table, UserRow

__all__ = ["CHANNEL", "say_last"]

CHANNEL: Final = "ranksearch"
"""Of PostgreSQL's LISTEN and NOTIFY."""
_COLUMNS = ("study_id", "number", "kind", "data", "created_at")
_EVENT, _STUDY, _USER = (Table.metadata.tables[row.__tablename__] for row in (EventRow, StudyRow, UserRow))
_INSERT = insert(_EVENT)


def say_last(
    session: Session, events: Sequence[Mapping[str, Any]], charges: Mapping[str, float], rings: Sequence[str]
) -> None:
    """Say it; what the session holds so far is flushed before.

    Args:
        session: of a writing transaction that is about to be committed.
        events: rows of :class:`EventRow`; their studies, which are locked, note the number of their last one.
        charges: user → worker-seconds to add; charged in the order of their ids, so that two never wait for each other.
        rings: what is sent on :data:`CHANNEL`.
    """
    if not (events or charges or rings):
        return
    session.flush()
    last = {event["study_id"]: event["number"] for event in events}
    studies, users = sorted(last), sorted(charges)
    connection = session.connection()
    if rings:
        values: dict[str, Any] = {f"ring_{at}": ring for at, ring in enumerate(rings)}
        values |= {f"{column}_{at}": event[column] for at, event in enumerate(events) for column in _COLUMNS}
        values |= {f"study_{at}": study for at, study in enumerate(studies)}
        values |= {f"last_{at}": last[study] for at, study in enumerate(studies)}
        values |= {f"user_{at}": user for at, user in enumerate(users)}
        values |= {f"seconds_{at}": charges[user] for at, user in enumerate(users)}
        connection.execute(_in_one(len(events), len(studies), len(users), len(rings)), values)
        return
    if events:
        connection.execute(_INSERT, [dict(event) for event in events])
    for study in studies:
        connection.execute(_last_event(0), {"study_0": study, "last_0": last[study]})
    for user in users:
        connection.execute(_charge(0), {"user_0": user, "seconds_0": charges[user]})


@lru_cache(maxsize=64)
def _in_one(events: int, studies: int, users: int, rings: int) -> Select[Any]:
    told = [
        insert(_EVENT).values({column: bindparam(f"{column}_{at}") for column in _COLUMNS}).cte(f"event_{at}")
        for at in range(events)
    ]
    noted = [_last_event(at).cte(f"last_event_{at}") for at in range(studies)]
    charged = [_charge(at).cte(f"charge_{at}") for at in range(users)]
    rung = [func.pg_notify(CHANNEL, bindparam(f"ring_{at}", type_=Text)) for at in range(rings)]
    return select(*rung).add_cte(*told, *noted, *charged)


@lru_cache(maxsize=8)
def _last_event(at: int) -> Update:
    last, study = bindparam(f"last_{at}", type_=Integer), bindparam(f"study_{at}", type_=String)
    return update(_STUDY).where(_STUDY.c.id == study).values(last_event=last)


@lru_cache(maxsize=8)
def _charge(at: int) -> Update:
    seconds, user = bindparam(f"seconds_{at}", type_=Double), bindparam(f"user_{at}", type_=String)
    return update(_USER).where(_USER.c.id == user).values(usage_seconds=_USER.c.usage_seconds + seconds)
