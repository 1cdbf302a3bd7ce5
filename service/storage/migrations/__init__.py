"""The schema's history. Its version is kept in ``rs_alembic_version``, beside Optuna's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from service.storage.engine import Database

__all__ = [
    "VERSION_TABLE",
    "SchemaState",
    "migrate",
    "migrate_down",
    "migrations_config",
    "newest_revision",
    "schema_revision",
    "schema_state",
]

VERSION_TABLE = "rs_alembic_version"

SchemaState: TypeAlias = Literal["newest", "behind", "unknown", "empty"]
"""``unknown``: made by a newer program than this one; ``empty``: there are no tables of ours yet."""


def migrations_config(engine: Engine) -> Config:
    """Alembic's configuration for this folder; ``env.py`` takes the engine from its attributes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["engine"] = engine
    return config


def migrate(database: Database) -> None:
    """Bring the schema to the newest version, in one transaction."""
    with database.one_writer():
        command.upgrade(migrations_config(database.writing_engine), "head")


def migrate_down(database: Database, revision: str = "base") -> None:
    """Take the schema back to ``revision``, in one transaction; what newer tables held is lost."""
    with database.one_writer():
        command.downgrade(migrations_config(database.writing_engine), revision)


@cache
def newest_revision() -> str:
    """The revision that this program's schema has."""
    head = _scripts().get_current_head()
    assert head is not None  # noqa: S101 - there are migrations
    return head


def schema_revision(database: Database) -> str | None:
    """The revision of a database's schema; None where there are no tables of ours."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return context.get_current_revision()


def schema_state(revision: str | None) -> SchemaState:
    """How a schema of this revision stands to this program."""
    if revision is None:
        return "empty"
    if revision == newest_revision():
        return "newest"
    try:
        known = _scripts().get_revision(revision)
    except CommandError:  # no such script
        known = None
    return "unknown" if known is None else "behind"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
