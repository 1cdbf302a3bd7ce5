import os
import threading

import pytest

from ranksearch.contracts.errors import NotFoundError, UnavailableError
from worker.factor_exchange import FactorExchange
from worker.factor_files import factor_path

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class Fleet:
    """Has some factors; counts what it is asked for."""

    def __init__(self, *keys):
        self.content = {key: key.encode() for key in keys}
        self.calls = []
        self.error = None

    def download(self, key, path, *, patience=None):
        self.calls.append(("get", key))
        if self.error is not None:
            raise self.error
        if key not in self.content:
            raise NotFoundError("factors_not_found", "no")
        path.write_bytes(self.content[key])
        return path

    def upload(self, key, path, *, patience=None):
        self.calls.append(("put", key))
        if self.error is not None:
            raise self.error
        self.content[key] = path.read_bytes()


@pytest.fixture
def fleet():
    return Fleet(A)


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def exchange(fleet, tmp_path, now):
    return FactorExchange(fleet, tmp_path, clock=lambda: now[0])


def put(folder, key, content=b"factors"):
    path = factor_path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def offered(exchange, *keys):
    exchange.offer(keys)
    exchange.flush()


def test_what_others_have_is_put_into_the_cache(exchange, tmp_path):
    assert exchange.fetch([A, B]) == 1
    assert factor_path(tmp_path, A).read_bytes() == A.encode()
    assert not factor_path(tmp_path, B).exists()


def test_what_was_used_is_given_once(exchange, fleet, tmp_path):
    put(tmp_path, B)
    offered(exchange, B)
    offered(exchange, B)
    assert fleet.content[B] == b"factors"
    assert fleet.calls == [("put", B)]


def test_what_came_from_the_fleet_is_not_given_back(exchange, fleet):
    exchange.fetch([A])
    offered(exchange, A)
    assert fleet.calls == [("get", A)]


def test_what_is_not_in_the_cache_any_more_is_not_given(exchange, fleet):
    offered(exchange, C)
    assert fleet.calls == []


def test_a_link_is_not_given(exchange, fleet, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    factor_path(tmp_path, B).parent.mkdir(parents=True)
    factor_path(tmp_path, B).symlink_to(secret)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / factor_path(tmp_path, C).name).write_text("token")
    factor_path(tmp_path, C).parent.symlink_to(elsewhere)
    offered(exchange, B, C)
    assert fleet.calls == []


def test_nothing_is_written_behind_a_link(exchange, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    factor_path(tmp_path, A).parent.symlink_to(elsewhere)
    assert exchange.fetch([A]) == 0
    assert list(elsewhere.iterdir()) == []


def test_a_named_pipe_is_not_waited_for(exchange, fleet, tmp_path):
    path = factor_path(tmp_path, B)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    offered(exchange, B)
    assert fleet.calls == []


def test_a_service_that_is_away_is_left_alone_for_a_while(exchange, fleet, tmp_path, now):
    fleet.error = UnavailableError("service_unreachable", "away")
    assert exchange.fetch([A]) == 0
    asked = len(fleet.calls)
    put(tmp_path, B)
    offered(exchange, B)
    assert exchange.fetch([A]) == 0
    assert len(fleet.calls) == asked
    fleet.error, now[0] = None, 61.0
    assert exchange.fetch([A]) == 1


def test_a_slow_service_costs_some_seconds_at_most(exchange, fleet, monkeypatch):
    monkeypatch.setattr("worker.factor_exchange._FETCH_SECONDS", 0.1)
    go = threading.Event()
    fleet.download = lambda key, path, *, patience=None: go.wait(20)
    try:
        assert exchange.fetch([A, B]) == 0
    finally:
        go.set()


def test_more_than_can_wait_is_dropped_and_does_not_block(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.factor_exchange._WAITING", 2)
    go = threading.Event()
    fleet.upload = lambda key, path, *, patience=None: go.wait(20)
    exchange = FactorExchange(fleet, tmp_path)
    keys = [f"{number:064x}" for number in range(10)]
    for key in keys:
        put(tmp_path, key)
    exchange.offer(keys)
    go.set()
    exchange.flush()


def test_a_full_disk_costs_no_trial(exchange, fleet, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    fleet.download = full
    assert exchange.fetch([A]) == 0
