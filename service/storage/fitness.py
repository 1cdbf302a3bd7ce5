"""Which PostgreSQL servers and databases will do: said before anything is made of them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text

from service.storage.engine import Database

__all__ = ["Unfit", "unfit"]

_OLDEST = 15
"""The oldest release that the tests run on."""
_ENCODING = "UTF8"
"""Names are any text: in LATIN1 some could not be kept, and SQL_ASCII keeps bytes of no known meaning."""


class Unfit(NamedTuple):
    """Why a database will not do."""

    what: str
    got: str
    expected: str
    mend: str


def unfit(database: Database) -> Unfit | None:
    """Ask the database's server what it is; None where it will do, as SQLite, which is part of this program, does.

    Raises:
        SQLAlchemyError: it does not answer.
    """
    if database.engine.dialect.name == "sqlite":
        return None
    query = text("SELECT current_setting('server_version_num'), current_setting('server_encoding')")
    with database.engine.connect() as connection:
        version, encoding = connection.execute(query).one()
    major = int(version) // 10_000
    if major < _OLDEST:
        return Unfit(
            "the database's server is too old",
            f"PostgreSQL {major}",
            f"PostgreSQL {_OLDEST} or newer",
            "upgrade the server, or give --database-url another one",
        )
    if encoding != _ENCODING:
        name = database.engine.url.database
        return Unfit(
            "the database cannot hold any text",
            f"the encoding {encoding}",
            _ENCODING,
            f"make it anew: createdb --template=template0 --encoding={_ENCODING} {name}",
        )
    return None
