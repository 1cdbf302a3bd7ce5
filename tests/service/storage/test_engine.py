from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import make_url, select, text, update
from sqlalchemy.exc import InternalError, OperationalError, SQLAlchemyError

from service.storage import engine
from service.storage.clock import database_now, moment
from service.storage.engine import Database, is_away
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


CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"])


def test_reading_sees_one_snapshot(database):
    with database.reading() as session:
        assert session.scalars(select(BlobRow.sha256)).all() == []
        with database.writing() as other:
            other.add(blob(1))
        assert session.scalars(select(BlobRow.sha256)).all() == []
    with database.reading() as session:
        assert len(session.scalars(select(BlobRow.sha256)).all()) == 1


@on_postgresql
def test_reading_cannot_write(database):
    with database.reading() as session:
        session.add(blob(1))
        with pytest.raises(InternalError, match="read-only"):
            session.flush()


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_what_the_server_has_prepared_outlives_a_reading(database):
    """psycopg forgets it, and how often what was asked, when a transaction is rolled back."""
    asked = text("SELECT count(*) FROM pg_prepared_statements")
    counts = []
    for _ in range(20):
        with database.reading() as session:
            counts.append(session.scalar(asked))
    assert counts[-1] == 1


def test_a_row_that_was_seen_before_is_read_anew_when_it_is_locked(database):
    """Else what was committed while the lock was waited for would be overwritten, or kept, by what was seen before."""
    with database.writing() as session:
        session.add(blob(1))
    with database.writing() as session:
        seen = session.scalars(select(BlobRow)).one()
        session.connection().execute(update(BlobRow).values(size=7))  # as another's commit would
        assert seen.size == 1
        assert session.scalars(select(BlobRow).with_for_update()).one().size == 7


@on_postgresql
def test_a_change_is_made_of_what_another_committed_while_its_lock_was_waited_for(database):
    with database.writing() as session:
        session.add(blob(1))
    looked = threading.Event()

    def add(amount: int) -> None:
        with database.writing() as session:
            session.scalars(select(BlobRow)).one()
            looked.set()
            session.scalars(select(BlobRow).with_for_update()).one().size += amount

    with ThreadPoolExecutor(1) as threads:
        with database.writing() as session:
            session.scalars(select(BlobRow).with_for_update()).one().size += 10
            session.flush()
            adding = threads.submit(add, 100)
            looked.wait(10)
        adding.result(10)
    with database.reading() as session:
        assert session.scalars(select(BlobRow.size)).one() == 111


def test_one_task_is_done_by_one_process_at_a_time(database):
    other, order = Database(database.url), []
    held = threading.Event()

    def wait_for_it() -> None:
        held.wait(10)
        with other.alone("task"):
            order.append("other")

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_for_it)
        with database.alone("task"):
            held.set()
            with other.alone("another task"):
                order.append("one")
            time.sleep(0.1)  # enough for the other to come in, were it let
            order.append("one")
        waiting.result(10)
    other.close()
    assert order == ["one", "one", "other"]


def test_a_task_is_not_waited_for_for_ever(database, monkeypatch):
    if not database.is_shared:
        monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    impatient = {"options": "-c lock_timeout=50ms"} if database.is_shared else {}
    other = Database(make_url(database.url).update_query_dict(impatient).render_as_string(hide_password=False))
    with database.alone("task"), pytest.raises(SQLAlchemyError) as caught, other.alone("task"):
        pass
    other.close()
    assert is_away(caught.value)


@on_postgresql
def test_connections_that_were_cut_while_they_rested_are_not_handed_out(database, postgres, monkeypatch):
    with database.reading() as session:
        session.scalar(select(database_now()))
    postgres.execute(CUT, make_url(database.url).database)
    monkeypatch.setattr(engine, "_REST_SECONDS", 0.0)
    with database.reading() as session:
        assert session.scalar(select(database_now())) > 0


@on_postgresql
def test_one_connection_that_was_cut_in_use_is_away_and_takes_the_others_with_it(database, postgres):
    with database.reading() as one, database.reading() as two:
        for session in (one, two):
            session.scalar(select(database_now()))
    postgres.execute(CUT, make_url(database.url).database)
    with pytest.raises(OperationalError) as caught, database.reading() as session:
        session.scalar(select(database_now()))
    assert is_away(caught.value)
    for _ in range(2):
        with database.reading() as session:
            assert session.scalar(select(database_now())) > 0


@on_postgresql
def test_a_lock_is_not_waited_for_for_ever(database):
    with database.reading() as session:
        assert session.scalar(text("SHOW lock_timeout")) == "30s"
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"
