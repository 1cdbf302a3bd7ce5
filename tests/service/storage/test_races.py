from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.storage.engine import Database
from service.storage.races import again_when_raced
from service.storage.tables import BlobRow

on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"])


def blob(name: str) -> BlobRow:
    return BlobRow(sha256=name, size=0, created_at=0.0, touched_at=0.0)


@pytest.fixture
def other(database):
    """What another service on the same database has."""
    other = Database(database.url)
    yield other
    other.close()


@on_postgresql
def test_an_insertion_that_came_second_finds_the_first(database, other):
    both_looked = threading.Barrier(2)
    attempts = []

    @again_when_raced
    def insert_or_read(which: Database) -> bool:
        with which.writing() as session:
            attempts.append(which)
            found = session.get(BlobRow, "same")
            if len(attempts) <= 2:
                both_looked.wait(10)
            if found is None:
                session.add(blob("same"))
            return found is None

    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(insert_or_read, (database, other)))
    assert sorted(made) == [False, True]
    assert len(attempts) == 3


@on_postgresql
def test_of_two_that_wait_for_each_other_one_starts_anew(database, other):
    with database.writing() as session:
        session.add_all([blob("a"), blob("b")])
    both_hold = threading.Barrier(2)
    attempts = []

    @again_when_raced
    def grow(which: Database, names: str) -> None:
        with which.writing() as session:
            attempts.append(names)
            for name in names:
                session.execute(update(BlobRow).where(BlobRow.sha256 == name).values(size=BlobRow.size + 1))
                if name == names[0] and len(attempts) <= 2:
                    both_hold.wait(10)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(grow, (database, other), ("ab", "ba")))
    with database.reading() as session:
        assert session.scalars(select(BlobRow.size)).all() == [2, 2]
    assert len(attempts) == 3


def test_a_row_that_is_always_in_the_way_is_an_error_in_the_end(database):
    with database.writing() as session:
        session.add(blob("same"))
    attempts = []

    @again_when_raced
    def insert() -> None:
        attempts.append(1)
        with database.writing() as session:
            session.add(blob("same"))

    with pytest.raises(IntegrityError):
        insert()
    assert len(attempts) == (1 if database.engine.dialect.name == "sqlite" else 5)


def test_what_is_no_race_is_not_tried_again(database):
    attempts = []

    @again_when_raced
    def wrong() -> None:
        attempts.append(1)
        with database.writing() as session:
            session.connection().exec_driver_sql("SELECT nothing FROM nowhere")

    with pytest.raises(DBAPIError):
        wrong()
    assert len(attempts) == 1
