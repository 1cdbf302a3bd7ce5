from __future__ import annotations

import statistics

import pytest
from sqlalchemy import select, update

from service.scheduling.attempts import delay
from service.scheduling.reconcile import sweep
from service.settings import Settings
from service.storage.clock import database_now
from service.storage.tables import JobRow
from tests.service.conftest import TOKEN
from tests.service.scheduling.test_pausing import post, started


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, token=TOKEN, retry_base_seconds=2, retry_cap_seconds=60)


def let_waits_pass(service):
    with service.backend.writing() as session:
        session.execute(update(JobRow).values(not_before=None))


def test_the_wait_doubles_up_to_the_cap(settings):
    for attempts, whole in enumerate([2, 4, 8, 16, 32, 60, 60], 1):
        waits = [delay(f"job_{number}", attempts, settings) for number in range(200)]
        assert whole / 2 <= min(waits) < 0.55 * whole
        assert 0.95 * whole < max(waits) <= whole
        assert statistics.fmean(waits) == pytest.approx(0.75 * whole, rel=0.05)


def test_the_wait_of_a_job_is_the_same_everywhere(settings):
    assert delay("job_1", 2, settings) == delay("job_1", 2, settings)
    assert delay("job_1", 1, settings) != delay("job_2", 1, settings)


def test_another_attempt_waits(start):
    service = start(retry_base_seconds=1000, retry_cap_seconds=1e6)
    _, agent = started(service, n_trials=1)
    job = agent.must_claim("trial")
    agent.fail(job, retry=True, code="evaluation_failed")
    assert agent.claim() is None
    with service.backend.reading() as session:
        row, at = session.get_one(JobRow, job["id"]), session.scalar(select(database_now()))
        assert 490 < row.not_before - at <= 1000
    let_waits_pass(service)
    assert agent.must_claim("trial")["attempt"] == 2


def test_other_trials_go_on_while_one_waits(start):
    service = start(retry_base_seconds=1000)
    _, agent = started(service, n_trials=2)
    job = agent.must_claim("trial")
    agent.fail(job, retry=True, code="evaluation_failed")
    assert agent.must_claim("trial")["id"] != job["id"]


@pytest.mark.parametrize("how", ["release", "leave"])
def test_a_job_that_is_handed_back_waits_for_nothing(start, how):
    service = start(retry_base_seconds=1000)
    _, agent = started(service, n_trials=1)
    job = agent.must_claim("trial")
    if how == "release":
        agent.post(job, "release")
    else:
        service.http.delete(f"/v1/workers/{agent.name}")
    assert service.agent("other").must_claim("trial")["id"] == job["id"]


def test_a_failure_that_asks_for_a_retry_gets_three_attempts(service):
    study, agent = started(service)
    job = agent.must_claim("trial")
    for _ in range(3):
        agent.fail(job, retry=True, code="evaluation_out_of_memory", detail="out of memory")
        job = agent.must_claim("trial")
    trial = service.trials(study)[0]
    assert (trial["state"], trial["error"]["code"]) == ("FAIL", "attempts_exhausted")
    assert "out of memory" in trial["error"]["detail"]


def test_a_trial_that_ends_two_workers_is_poison(service, let_leases_expire):
    study, _ = started(service)
    first, second = service.agent("first"), service.agent("second")
    number = first.must_claim("trial")["trial"]
    let_leases_expire()
    assert second.must_claim("trial")["trial"] == number
    let_leases_expire()
    sweep(service.backend)
    trial = service.get(f"/v1/studies/{study}/trials/{number}")
    assert (trial["state"], trial["error"]["code"], trial["attempts"]) == ("FAIL", "trial_poisoned", 2)
    assert trial["error"]["extra"]["workers"] == ["first", "second"]
    assert all("stopped renewing" in report["problem"]["detail"] for report in trial["error"]["extra"]["crashes"])


def test_a_dead_worker_and_a_dead_evaluation_make_poison_together(service, let_leases_expire):
    study, agent = started(service)
    agent.must_claim("trial")
    let_leases_expire()
    agent.fail(agent.must_claim("trial"), retry=True, detail="signal 9")
    (trial,) = service.trials(study)
    codes = [report["problem"]["code"] for report in trial["error"]["extra"]["crashes"]]
    assert (trial["error"]["code"], codes) == ("trial_poisoned", ["evaluation_crashed"] * 2)
    assert "signal 9" in trial["error"]["detail"]


def test_other_failures_in_between_do_not_make_a_crash_forgotten(service, let_leases_expire):
    study, agent = started(service)
    agent.must_claim("trial")
    let_leases_expire()
    agent.fail(agent.must_claim("trial"), retry=True, code="evaluation_failed")
    agent.must_claim("trial")
    let_leases_expire()
    sweep(service.backend)
    assert service.trials(study)[0]["error"]["code"] == "trial_poisoned"


def test_how_many_crashes_are_poison_is_a_setting(start):
    service = start(max_crashes=1)
    study, agent = started(service)
    agent.fail(agent.must_claim("trial"), retry=True)
    assert service.trials(study)[0]["error"]["code"] == "trial_poisoned"


def test_a_retried_trial_is_no_poison_any_more(start):
    service = start(max_crashes=1)
    study, agent = started(service)
    agent.fail(agent.must_claim("trial"), retry=True)
    post(service, study, "retry")
    agent.work()
    assert service.study(study)["progress"]["complete"] == 4
