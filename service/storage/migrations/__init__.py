"""The schema's history. Its version is kept in ``rs_alembic_version``, beside Optuna's own."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from service.storage.engine import Database

__all__ = ["VERSION_TABLE", "migrate", "migrate_down", "migrations_config"]

VERSION_TABLE = "rs_alembic_version"


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
