"""What has ended is read once, and nothing is missed."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from service.scheduling.histories import Histories
from service.scheduling.verdicts import goal_of
from service.storage.tables import JobRow, StudyRow


def read(service, study, histories):
    """The numbers and values that are told, and how many rows were read for it."""
    rows = []
    with service.backend.reading() as session:
        goal = goal_of(session.get_one(StudyRow, study))
        connection = session.connection()
        execute = connection.execute
        connection.execute = lambda *asked: rows.extend(found := execute(*asked).all()) or found
        past = histories.past(session, study, goal)
    return {trial.number: trial.value for trial in past}, len(rows)


@pytest.fixture
def study(service):
    return service.submit(n_trials=8)["id"]


def test_what_is_kept_tells_the_same_as_what_is_read_anew(service, study):
    kept, agent = Histories(), service.agent()
    agent.work(1)
    jobs = []
    for step in ("claim", "claim", "end 1", "claim", "fail 0", "claim", "end 0", "end 0"):
        what, _, which = step.partition(" ")
        if what == "claim":
            jobs.append(agent.must_claim("trial"))
        elif what == "end":
            agent.complete(jobs.pop(int(which)))
        else:
            agent.fail(jobs.pop(int(which)))
        assert read(service, study, kept)[0] == read(service, study, Histories())[0]


def test_what_has_ended_is_not_read_again(service, study):
    kept, agent = Histories(), service.agent()
    agent.work(1 + 6)
    told, first = read(service, study, kept)
    assert (len(told), first) == (6, 6)
    again, rows = read(service, study, kept)
    assert (again, rows) == (told, 1)  # the last one: another may have ended in that very moment


def test_a_failed_trial_that_is_tried_again_counts_once_it_completes(service, study):
    kept, agent = Histories(), service.agent()
    agent.work(1)
    agent.fail(agent.must_claim("trial"))
    agent.work(2)
    assert 0 not in read(service, study, kept)[0]
    with service.backend.writing() as session:
        failed = (JobRow.study_id == study, JobRow.trial_number == 0)
        session.execute(update(JobRow).where(*failed).values(state="waiting", finished_at=None, attempts=0))
    agent.work(1)
    assert sorted(read(service, study, kept)[0]) == [0, 1, 2]


def test_a_baseline_that_comes_late_changes_what_was_lost(service, study):
    kept = Histories()
    baseline, agent = service.agent("slow"), service.agent()
    job = baseline.must_claim("baseline")
    agent.complete(agent.must_claim("trial"))
    with service.backend.reading() as session:
        before = kept.past(session, study, goal_of(session.get_one(StudyRow, study)))
    baseline.complete(job)
    with service.backend.reading() as session:
        after = kept.past(session, study, goal_of(session.get_one(StudyRow, study)))
    assert (before[0].drop, after[0].drop is not None) == (None, True)
