"""A list of studies: what each of them alone would say, for about as few questions as one takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from service.access.principal import LOCAL
from service.scheduling import answers
from tests.service.conftest import on_both

pytestmark = on_both


@pytest.fixture
def studies(service):
    """In several states, one with trials that were cancelled while they ran."""
    made = [service.submit(n_trials=4, name=f"done {at}")["id"] for at in range(3)]
    agent = service.agent()
    agent.work()
    cancelled = service.submit(n_trials=6)["id"]
    agent.work(limit=3)
    agent.must_claim("trial")
    service.http.post(f"/v1/studies/{cancelled}/cancel")
    waiting = service.submit(requirements={"labels": {"rack": "none"}})["id"]
    paused = service.submit()["id"]
    service.http.post(f"/v1/studies/{paused}/pause")
    return [*made, cancelled, waiting, paused]


@contextmanager
def questions(service) -> Iterator[list[str]]:
    """What this thread asks of the database."""
    asked: list[str] = []
    engine, me = service.backend.database.engine, threading.get_ident()

    def note(_connection, _cursor, statement, *_rest):
        if threading.get_ident() == me:
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_list_says_what_each_study_says(service, studies):
    items = {item["id"]: item for item in service.get("/v1/studies")["items"]}
    assert set(items) == set(studies)
    for study in studies:
        assert items[study] == service.study(study)


def test_counts_are_of_each_studys_own_trials(service, studies):
    items = {item["id"]: item["progress"] for item in service.get("/v1/studies")["items"]}
    assert [items[study]["complete"] for study in studies] == [4, 4, 4, 2, 0, 0]
    assert [items[study]["failed"] for study in studies] == [0, 0, 0, 1, 0, 0]
    assert [items[study]["waiting"] for study in studies] == [0, 0, 0, 0, 4, 4]


def test_more_studies_that_have_ended_take_no_more_questions(service, studies):
    with questions(service) as one:
        assert len(answers.studies(service.backend, LOCAL, None, 1, "completed").items) == 1
    with questions(service) as three:
        assert len(answers.studies(service.backend, LOCAL, None, 3, "completed").items) == 3
    assert len(three) == len(one)
