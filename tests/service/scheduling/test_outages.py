from __future__ import annotations

import pytest
from sqlalchemy import update

from service.scheduling.backend import now
from service.scheduling.outages import forgive_outage
from service.scheduling.reconcile import sweep
from service.storage.tables import HeartbeatRow, JobRow
from tests.service.scheduling.test_pausing import started

SWEEP = 3600.0


def ago(service, *, noted, expired):
    """The last sweep was so long ago, and leases ran out so long ago."""
    with service.backend.writing() as session:
        at = now(session)
        session.execute(update(HeartbeatRow).values(at=at - noted))
        session.execute(update(JobRow).where(JobRow.state == "leased").values(lease_expires_at=at - expired))


@pytest.fixture
def held(service):
    """A trial under lease, and its worker."""
    _, agent = started(service)
    return agent, agent.must_claim("trial")


def test_a_lease_that_ran_out_while_no_service_was_there_goes_on(start, service, held):
    agent, job = held
    ago(service, noted=10 * SWEEP, expired=5 * SWEEP)
    again = start()
    sweep(again.backend)
    assert agent.complete(job).status_code == 204


def test_a_lease_that_had_run_out_before_is_over(start, service, held):
    agent, job = held
    ago(service, noted=5 * SWEEP, expired=10 * SWEEP)
    again = start()
    sweep(again.backend)
    assert agent.post(job, "renew").json()["code"] == "lease_lost"


def test_a_replica_that_starts_beside_another_forgives_nothing(start, service, held):
    agent, job = held
    ago(service, noted=SWEEP, expired=SWEEP / 2)
    again = start()
    sweep(again.backend)
    assert agent.post(job, "renew").json()["code"] == "lease_lost"


def test_of_two_that_start_after_an_outage_one_forgives(service, held):
    ago(service, noted=10 * SWEEP, expired=5 * SWEEP)
    assert [forgive_outage(service.backend), forgive_outage(service.backend)] == [1, 0]


def test_a_sweep_notes_that_a_service_is_there(service, held):
    ago(service, noted=10 * SWEEP, expired=-SWEEP)
    sweep(service.backend)
    assert forgive_outage(service.backend) == 0
