"""Run by Alembic, never imported.

SQLite alters a table by copying it. Rows elsewhere that refer to it would be in the way, so their references are not
checked meanwhile, but once before all of it is committed.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine

from service.storage.migrations import VERSION_TABLE
from service.storage.tables import Table

engine: Engine = context.config.attributes["engine"]
sqlite = engine.dialect.name == "sqlite"


def without_references(connection: Connection) -> None:
    """Have SQLite check no references: outside of transactions alone, hence below SQLAlchemy's; and never again."""
    connection.detach()
    raw = connection.connection.dbapi_connection
    assert raw is not None  # noqa: S101 - the connection is open
    raw.cursor().execute("PRAGMA foreign_keys=OFF")


with engine.connect() as connection:
    if sqlite:
        without_references(connection)
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=sqlite,
        compare_type=True,
        include_name=lambda name, kind, _parents: kind != "table" or (name or "").startswith("rs_"),
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    if sqlite:
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise RuntimeError(f"a migration left {len(broken)} rows that refer to nothing, the first: {broken[0]}")
    connection.commit()
