from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from service.search.optuna_records import OptunaRecords
from service.storage.engine import Database
from service.storage.migrations import VERSION_TABLE, migrate, migrate_down
from service.storage.tables import Table


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'db'}")
    yield database
    database.close()


def tables(database):
    return set(inspect(database.engine).get_table_names())


def test_up_makes_every_table(database):
    migrate(database)
    assert set(Table.metadata.tables) | {VERSION_TABLE} == tables(database)


def test_up_twice_changes_nothing(database):
    migrate(database)
    migrate(database)


def test_down_removes_every_table(database):
    migrate(database)
    migrate_down(database)
    assert tables(database) == {VERSION_TABLE}


def test_up_after_down_works(database):
    migrate(database)
    migrate_down(database)
    migrate(database)
    assert set(Table.metadata.tables) <= tables(database)


def test_the_migrated_schema_is_the_one_the_code_expects(database):
    migrate(database)
    with database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


def test_optunas_tables_live_beside_ours(database):
    migrate(database)
    OptunaRecords(database).close()
    migrate_down(database)
    assert {"studies", "trials"} <= tables(database)
