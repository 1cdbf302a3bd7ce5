"""Descriptions that are made when they are read are those that psycopg makes."""

from __future__ import annotations

import psycopg
import pytest

from service.storage.brief_cursor import BriefCursor


@pytest.fixture
def connection(service):
    database = service.backend.database
    if not database.is_shared:
        pytest.skip("of PostgreSQL alone")
    with database.engine.connect() as connection:
        yield connection


@pytest.mark.parametrize("query", ["SELECT 1 AS one, 'b'::text AS two", "SELECT 1 AS one WHERE false"])
def test_columns_are_described_as_ever(connection, query):
    raw = connection.connection.driver_connection
    with raw.cursor() as brief, psycopg.Cursor(raw) as plain:
        assert isinstance(brief, BriefCursor)
        described, expected = brief.execute(query).description, plain.execute(query).description
        assert len(described) == len(expected)
        assert [tuple(column) for column in described] == [tuple(column) for column in expected]


def test_what_gives_no_rows_is_not_described(connection):
    with connection.connection.driver_connection.cursor() as cursor:
        assert cursor.description is None
        assert cursor.execute("SET lock_timeout = '1s'").description is None
