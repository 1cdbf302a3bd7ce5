"""What workers are doing, since when, and how busy they were."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from service.storage.tables import JobRow
from tests.service.access_stories import bearer, token_for
from tests.service.conftest import on_both

NOW = 1_700_000_000.0
pytestmark = on_both


@pytest.fixture
def service(start, monkeypatch):
    monkeypatch.setattr("service.scheduling.workloads.now", lambda _session: NOW)
    return start()


def worker(service, name="w1", **options):
    (found,) = [one for one in service.http.get("/v1/workers", **options).json()["items"] if one["id"] == name]
    return found


def worked(service, *spans, attempts=1):
    """Have the trials that ``w1`` has done taken these seconds, before now."""
    with service.backend.writing() as session:
        ended = select(JobRow).where(JobRow.worker == "w1", JobRow.finished_at.is_not(None)).order_by(JobRow.id)
        rows = session.scalars(ended).all()
        session.execute(update(JobRow).values(started_at=None))
        for job, (began, finished) in zip(rows, spans, strict=False):
            job.started_at, job.finished_at, job.attempts = NOW - began, NOW - finished, attempts


def test_one_that_never_had_a_job_was_not_busy(service):
    service.agent().claim()
    told = worker(service)
    assert (told["busy_share"], told["task"], told["since"], told["study_name"]) == (0.0, None, None, None)


def test_the_last_ten_minutes_count_and_what_was_before_does_not(service):
    service.submit()
    service.agent().work(limit=5)
    worked(service, (1000, 540), (500, 440), (2000, 601))
    assert worker(service)["busy_share"] == pytest.approx((60 + 60) / 600)


def test_a_job_that_others_had_before_is_left_out(service):
    service.submit()
    service.agent().work(limit=3)
    worked(service, (300, 0), attempts=2)
    assert worker(service)["busy_share"] == 0.0


def test_what_it_is_doing_now_counts_since_it_was_given_that(service):
    study = service.submit(name="now")
    agent = service.agent()
    agent.work(limit=2)
    agent.must_claim("trial")
    worked(service)
    with service.backend.writing() as session:
        session.execute(update(JobRow).where(JobRow.state == "leased").values(leased_at=NOW - 150))
    told = worker(service)
    assert told["busy_share"] == pytest.approx(0.25)
    assert (told["task"], told["study"], told["study_name"], told["since"]) == (
        *("trial", study["id"], "now"),
        "2023-11-14T22:10:50Z",
    )


def test_a_job_of_another_project_is_told_as_time_alone(service):
    service.submit(name="private")
    service.agent().must_claim()
    told = worker(service, headers=bearer(token_for(service, "eve", "other")))
    assert told["state"] == "busy"
    assert (told["task"], told["study"], told["study_name"], told["since"]) == (None, None, None, None)


def test_an_inspection_is_a_task_as_well(service):
    service.upload_model()
    service.agent().must_claim("inspect")
    told = worker(service)
    assert (told["task"], told["study_name"]) == ("inspect", None)
