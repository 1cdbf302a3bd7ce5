from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select, text

from service.storage.clock import database_now, moment
from service.storage.engine import Database
from service.storage.tables import BlobRow


def blob(number: int) -> BlobRow:
    return BlobRow(sha256=f"{number:064x}", size=1, created_at=0.0, touched_at=0.0)


def test_the_database_clock_has_fractions_of_a_second(database):
    with database.reading() as session:
        seen = set()
        for _ in range(5):
            seen.add(session.scalar(select(database_now())))
            time.sleep(0.003)
    assert len(seen) > 2


def test_the_database_clock_is_utc(database):
    with database.reading() as session:
        assert abs(session.scalar(select(database_now())) - time.time()) < 5


def test_stored_seconds_become_aware_datetimes():
    assert moment(0.5).isoformat() == "1970-01-01T00:00:00.500000+00:00"


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize(
    ("pragma", "expected"), [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 1), ("busy_timeout", 30000)]
)
def test_sqlite_is_set_up(database, pragma, expected):
    with database.reading() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == expected


def test_a_block_that_raises_writes_nothing(database):
    def write_and_raise() -> None:
        with database.writing() as session:
            session.add(blob(1))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_raise()
    with database.reading() as session:
        assert session.scalars(select(BlobRow)).all() == []


def test_two_services_databases_do_not_find_each_other_locked(database):
    other = Database(database.url)  # another process would have a write lock of its own, too
    problems = []

    def write(which: Database, numbers: range) -> None:
        try:
            for number in numbers:
                with which.writing() as session:
                    session.get(BlobRow, "x")
                    session.add(blob(number))
        except Exception as problem:  # noqa: BLE001 - collected for the assertion
            problems.append(problem)

    threads = [
        threading.Thread(target=write, args=(database, range(40))),
        threading.Thread(target=write, args=(other, range(100, 140))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert problems == []
