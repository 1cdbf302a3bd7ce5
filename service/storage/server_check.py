"""Which PostgreSQL servers and databases will do: said before anything is made of them."""

from __future__ import annotations

from sqlalchemy import text

from ranksearch.contracts.errors import UnavailableError
from service.storage.engine import Database

__all__ = ["check_server"]

_OLDEST = 15
"""The oldest release that the tests run on."""
_ENCODING = "UTF8"
"""Names are any text: in LATIN1 some could not be kept, and SQL_ASCII keeps bytes of no known meaning."""


def check_server(database: Database) -> None:
    """Ask the database's server what it is. SQLite, which is part of this program, will do.

    Raises:
        UnavailableError: it is too old, or the database cannot hold any text.
        SQLAlchemyError: it does not answer.
    """
    if database.engine.dialect.name == "sqlite":
        return
    query = text("SELECT current_setting('server_version_num'), current_setting('server_encoding')")
    with database.engine.connect() as connection:
        version, encoding = connection.execute(query).one()
    major = int(version) // 10_000
    if major < _OLDEST:
        raise UnavailableError(
            "service_not_ready",
            "the database's server is too old",
            got=f"PostgreSQL {major}",
            expected=f"PostgreSQL {_OLDEST} or newer",
            mend="upgrade the server, or give --database-url another one",
        )
    if encoding != _ENCODING:
        name = database.engine.url.database
        raise UnavailableError(
            "service_not_ready",
            "the database cannot hold any text",
            got=f"the encoding {encoding}",
            expected=_ENCODING,
            mend=f"make it anew: createdb --template=template0 --encoding={_ENCODING} {name}",
        )
