"""A PostgreSQL that will not do is told from one that will, before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ranksearch.contracts.errors import UnavailableError
from service.__main__ import main
from service.storage import server_check
from service.storage.engine import Database
from service.storage.server_check import check_server
from tests.postgres import PostgresServer


@contextmanager
def of_encoding(postgres: PostgresServer, encoding: str) -> Iterator[str]:
    """The URL of a database that keeps its text in ``encoding``."""
    name = f"in_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'")
    try:
        yield postgres.url(name)
    finally:
        postgres.drop(name)


def test_what_the_tests_run_on_will_do(database):
    check_server(database)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_any_text_is_refused(postgres, encoding):
    with of_encoding(postgres, encoding) as url:
        database = Database(url)
        with pytest.raises(UnavailableError) as caught:
            check_server(database)
        database.close()
    fault = caught.value
    assert (fault.got, fault.expected) == (f"the encoding {encoding}", "UTF8")
    assert "--encoding=UTF8" in str(fault.mend)


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_a_server_of_an_older_release_is_refused(database, monkeypatch):
    monkeypatch.setattr(server_check, "_OLDEST", 99)
    with pytest.raises(UnavailableError) as caught:
        check_server(database)
    assert caught.value.expected == "PostgreSQL 99 or newer"
    assert str(caught.value.got).startswith("PostgreSQL ")


def test_the_service_and_its_doctor_say_so_and_what_to_do(postgres, tmp_path, capfd):
    with of_encoding(postgres, "SQL_ASCII") as url:
        arguments = ["--data-dir", str(tmp_path), "--database-url", url]
        assert main([*arguments, "--port", "0"]) == 1
        served = capfd.readouterr().err
        assert main(["doctor", *arguments]) == 1
        examined = capfd.readouterr().out
    for said in (served, examined):
        assert "SQL_ASCII" in said
        assert "createdb --template=template0 --encoding=UTF8 in_sql_ascii" in said
    assert "Traceback" not in served
