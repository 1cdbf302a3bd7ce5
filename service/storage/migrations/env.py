"""Run by Alembic, never imported."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Engine

from service.storage.migrations import VERSION_TABLE
from service.storage.tables import Table

engine: Engine = context.config.attributes["engine"]
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=engine.dialect.name == "sqlite",  # SQLite alters a table by copying it
        compare_type=True,
        include_name=lambda name, kind, _parents: kind != "table" or (name or "").startswith("rs_"),
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
