"""Rings between processes, here between two bells on one database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import make_url

from service.scheduling.last_words import say_last
from service.scheduling.shared_bell import SharedBell
from service.storage.engine import Database

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN ranksearch' AND datname = current_database()"


@pytest.fixture
def dialect() -> str:
    return "postgresql"


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    yield database
    database.close()


@asynccontextmanager
async def hearing(bell):
    """While the block lasts; the first ring is that of having connected."""
    task = asyncio.create_task(bell.hear())
    try:
        with bell.listening("anything") as ear:
            await ear.wait(10)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ring(database, bell, topic) -> None:
    with database.writing() as session:
        say_last(session, (), {}, bell.rings_elsewhere({topic}))


def test_a_ring_comes_with_the_commit_and_not_before(database, postgres):
    async def heard() -> tuple[bool, bool]:
        bell, other = SharedBell(database), SharedBell(database)
        async with hearing(bell):
            with bell.listening("topic") as ear:
                with database.writing() as session:
                    say_last(session, (), {}, other.rings_elsewhere({"topic", "another"}))
                    session.flush()
                    await ear.wait(0.2)
                    before = ear.rung
                await ear.wait(10)
                return before, ear.rung

    assert asyncio.run(heard()) == (False, True)


def test_what_is_rolled_back_does_not_ring(database, postgres):
    def roll_back(bell) -> None:
        with database.writing() as session:
            say_last(session, (), {}, bell.rings_elsewhere({"dropped"}))
            session.rollback()

    async def heard() -> list[str]:
        bell, other, topics = SharedBell(database), SharedBell(database), []
        async with hearing(bell):
            bell.follow(topics.append)
            with bell.listening("kept") as ear:
                roll_back(other)
                ring(database, other, "kept")
                await ear.wait(10)
        return topics

    assert asyncio.run(heard()) == ["kept"]


def test_its_own_rings_do_not_come_back(database, postgres):
    async def heard() -> list[str]:
        bell, other, topics = SharedBell(database), SharedBell(database), []
        async with hearing(bell):
            bell.follow(topics.append)
            with bell.listening("theirs") as ear:
                ring(database, bell, "own")
                ring(database, other, "theirs")
                await ear.wait(10)
        return topics

    assert asyncio.run(heard()) == ["theirs"]


def test_a_lost_connection_is_made_again_and_everybody_is_woken(database, postgres):
    async def heard() -> list[str | None]:
        bell, other, topics = SharedBell(database), SharedBell(database), []
        async with hearing(bell):
            bell.follow(topics.append)
            with bell.listening("topic") as ear:
                name = make_url(database.url).database
                ((listener,),) = postgres.execute(LISTENERS, name)
                postgres.execute(f"SELECT pg_terminate_backend({listener})")
                await ear.wait(10)
                ear.clear()
                ring(database, other, "topic")
                await ear.wait(10)
        return topics

    assert asyncio.run(heard()) == [None, "topic"]
