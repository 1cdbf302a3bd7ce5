"""When a study will probably have made its last trial."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from service.scheduling.expectation import expected_end
from service.storage.tables import JobRow, StudyRow

NOW = 1_700_000_000.0


def told(service, study):
    at = service.study(study)["expected_at"]
    return None if at is None else datetime.fromisoformat(at).astimezone(UTC).timestamp()


@pytest.fixture
def study(service, monkeypatch):
    """Twenty trials, six of which ended ten seconds apart, the last one this moment; another one runs."""
    monkeypatch.setattr("service.scheduling.expectation.now", lambda _session: NOW)
    study = service.submit(n_trials=20, finalists=0)["id"]
    agent = service.agent()
    agent.work(limit=7)
    agent.must_claim("trial")
    ended_at(service, study, [NOW - 50, NOW - 40, NOW - 30, NOW - 20, NOW - 10, NOW])
    return study


def ended_at(service, study, moments):
    with service.backend.writing() as session:
        ended = (JobRow.study_id == study, JobRow.kind == "trial", JobRow.state == "done")
        for job, moment in zip(session.scalars(select(JobRow).where(*ended)), moments, strict=True):
            job.finished_at = moment


def test_it_goes_on_at_the_pace_of_the_latest_trials(service, study):
    assert told(service, study) == pytest.approx(NOW + 14 * 10)


def test_the_list_tells_it_as_well(service, study):
    (item,) = service.get("/v1/studies")["items"]
    assert item["expected_at"] == service.study(study)["expected_at"] is not None


def test_the_end_moves_away_while_nothing_ends(service, study):
    ended_at(service, study, [NOW - 650 + 10 * at for at in range(6)])
    assert told(service, study) == pytest.approx(NOW + 14 * 650 / 6)


def test_the_timeout_comes_first_where_it_is_nearer(service, study):
    with service.backend.writing() as session:
        row = session.get_one(StudyRow, study)
        row.request = {**row.request, "timeout": 100.0}
        row.started_at, row.paused_seconds = NOW - 70, 5.0
    assert told(service, study) == pytest.approx(NOW + 35)


def test_two_trials_are_no_pace(service, study):
    with service.backend.writing() as session:
        ended = select(JobRow.id).where(JobRow.study_id == study, JobRow.state == "done", JobRow.kind == "trial")
        forgotten = session.scalars(ended.limit(4)).all()
        session.execute(update(JobRow).where(JobRow.id.in_(forgotten)).values(state="waiting", finished_at=None))
    assert told(service, study) is None


def test_a_study_that_does_not_move_has_no_end_to_expect(service, study):
    service.http.post(f"/v1/studies/{study}/pause")
    assert told(service, study) is None


def test_one_that_has_ended_has_none_either(service):
    study = service.submit(n_trials=4)["id"]
    service.agent().work()
    assert service.study(study)["state"] == "completed"
    with service.backend.reading() as session:
        assert expected_end(session, session.get_one(StudyRow, study), left=0) is None


def test_a_study_tells_from_where_its_events_go_on(service, study):
    last = service.study(study)["last_event"]
    answer = service.http.post(f"/v1/studies/{study}/cancel")
    assert answer.status_code == 200
    lines = service.http.get(f"/v1/studies/{study}/events?after={last}").text
    assert f"id: {last + 1}\n" in lines
    assert f"id: {last}\n" not in lines
