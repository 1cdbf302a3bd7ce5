from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.storage.engine import Database
from tests.service.conftest import DIALECTS


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Everything here is to hold on both."""
    return request.param


@pytest.fixture
def blank(blank_database: str) -> Iterator[Database]:
    """A database without tables."""
    database = Database(blank_database)
    yield database
    database.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with all tables and nothing in them."""
    database = Database(database_url)
    yield database
    database.close()
