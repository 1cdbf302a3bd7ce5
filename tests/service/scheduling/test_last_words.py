"""A transaction's last words, through the same end of every transaction that the service has."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import event, select

from ranksearch.contracts.jobs import ClaimRequest, CompleteRequest
from service.scheduling.backend import Backend, study_topic
from service.scheduling.claims import claim
from service.scheduling.outcomes import complete
from service.storage.tables import EventRow, StudyRow, UserRow

MOST = {True: 15, False: 20}
"""Of statements for a trial: five to propose it and choose its ranks, four to lease it, six to take its result. On a
database of one's own there are two that begin transactions, and last words are three more."""
REQUEST = ClaimRequest(worker="w", name="w", device="cpu", version="0")


@pytest.fixture
def study(service):
    return service.submit(n_trials=1)["id"]


def told(service, study):
    with service.backend.reading() as session:
        rows = session.scalars(select(EventRow).where(EventRow.study_id == study).order_by(EventRow.number))
        return [(row.number, row.kind, row.data) for row in rows]


def usage(service, study):
    with service.backend.reading() as session:
        owner = session.get_one(UserRow, session.get_one(StudyRow, study).user_id)
        return owner.id, owner.usage_seconds


def say(session, study, *numbers):
    for number in numbers:
        happened = {"study_id": study, "number": number, "kind": "study", "data": {"n": number}, "created_at": 1.5}
        Backend.tell_after(session, happened)


@contextmanager
def statements(service):
    """What this thread asks; others look after the service meanwhile."""
    asked, here = [], threading.get_ident()

    def ask(*arguments):
        if threading.get_ident() == here:
            asked.append(arguments[2])

    engine = service.backend.database.engine
    event.listen(engine, "before_cursor_execute", ask)
    yield asked
    event.remove(engine, "before_cursor_execute", ask)


@pytest.mark.parametrize("rings", [0, 1, 3])
@pytest.mark.parametrize("events", [0, 1, 2])
def test_events_and_charges_are_there_after_the_commit(service, study, rings, events):
    before, (user, used) = told(service, study), usage(service, study)
    with service.backend.writing() as session:
        say(session, study, *range(100, 100 + events))
        Backend.charge_after(session, user, 2.5)
        Backend.charge_after(session, user, 0.5)
        for number in range(rings):
            Backend.ring_after(session, f"topic {number}")
    assert told(service, study)[len(before) :] == [(100 + at, "study", {"n": 100 + at}) for at in range(events)]
    assert usage(service, study) == (user, pytest.approx(used + 3.0))


def test_nothing_is_said_where_the_transaction_fails(service, study):
    before, (user, used) = told(service, study), usage(service, study)

    def fail_at_last():
        with service.backend.writing() as session:
            say(session, study, 100)
            Backend.charge_after(session, user, 2.5)
            Backend.ring_after(session, study_topic(study))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_at_last()
    assert (told(service, study), usage(service, study)) == (before, (user, used))


def test_what_the_session_holds_is_there_before_the_last_words(service, study):
    """The column that the events are numbered by, and a user that is charged, are changed in the same transaction."""
    with service.backend.writing() as session:
        row = session.get_one(StudyRow, study, with_for_update=True)
        row.last_event = 100
        session.get_one(UserRow, row.user_id).usage_seconds = 7.0
        Backend.charge_after(session, row.user_id, 1.0)
        say(session, study, 100)
        Backend.ring_after(session, study_topic(study))
    assert usage(service, study)[1] == pytest.approx(8.0)
    assert told(service, study)[-1][0] == 100


def test_with_rings_for_others_they_are_one_statement(service, study):
    user, _ = usage(service, study)
    with statements(service) as asked, service.backend.writing() as session:
        say(session, study, 100, 101)
        Backend.charge_after(session, user, 2.5)
        Backend.ring_after(session, study_topic(study))
    if service.backend.database.is_shared:
        (said,) = asked
        assert said.count("INSERT INTO rs_events") == 2
        assert "UPDATE rs_studies" in said
        assert "UPDATE rs_users" in said
        assert "pg_notify" in said
    else:
        assert [one.split()[0] for one in asked if "BEGIN" not in one] == ["INSERT", "UPDATE", "UPDATE"]


def test_a_trial_costs_few_statements(service):
    """Each is work for this process, and on a shared server a wait, mostly under the study's lock."""
    service.submit(n_trials=12)
    agent = service.agent()
    agent.work(1 + 8)
    for _ in range(2):
        with statements(service) as asked:
            job = claim(service.backend, REQUEST).job
            done = {"lease_token": job.lease.token, "outcome": agent.outcome(job.model_dump(mode="json"))}
            complete(service.backend, job.id, CompleteRequest.model_validate(done))
        assert len(asked) <= MOST[service.backend.database.is_shared], asked
