from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import func, select

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.claims import claim
from service.scheduling.reconcile import sweep
from service.storage.tables import JobRow
from service.version import VERSION
from tests.service import synthetic


def trial_job(service, agent):
    agent.complete(agent.must_claim("baseline"))
    return agent.must_claim("trial")


def test_no_work_is_204(service):
    assert service.agent().claim() is None


def test_a_lease_says_how_long_it_lasts(service):
    service.submit()
    assert service.agent().must_claim()["lease"]["seconds"] == 60


def test_the_queue_goes_by_kind_then_age(service):
    first, second = service.submit(n_trials=1)["id"], service.submit(n_trials=1)["id"]
    service.upload_model(synthetic.model_document(salt=7))
    agent = service.agent()
    jobs = [agent.must_claim() for _ in range(5)]
    assert [(job["task"]["kind"], job["study"]) for job in jobs] == [
        ("inspect", None),
        ("baseline", first),
        ("baseline", second),
        ("trial", first),
        ("trial", second),
    ]


def test_the_first_claim_starts_the_study(service):
    study = service.submit()["id"]
    service.agent().must_claim()
    assert service.get(f"/v1/studies/{study}")["state"] == "running"


def test_a_renewed_lease_lasts_longer(service):
    service.submit()
    agent = service.agent()
    job = agent.must_claim()
    time.sleep(0.01)
    assert agent.post(job, "renew").json()["expires_at"] > job["lease"]["expires_at"]


@pytest.mark.parametrize("what", ["renew", "release", "complete", "fail"])
def test_a_wrong_token_holds_nothing(service, what):
    service.submit()
    agent = service.agent()
    job = agent.must_claim()
    body = {"complete": {"outcome": agent.outcome(job)}, "fail": {"problem": synthetic.problem()}}.get(what, {})
    wrong = job | {"lease": {"token": "wrong"}}
    answer = agent.post(wrong, what, **body)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")


@pytest.mark.parametrize("what", ["renew", "release", "complete", "fail"])
def test_an_unknown_job(service, what):
    agent = service.agent()
    body = {
        "complete": {"outcome": {"kind": "compress", "sha256": "0" * 64, "parity": synthetic.parity()}},
        "fail": {"problem": synthetic.problem()},
    }
    answer = agent.post({"id": "job_none", "lease": {"token": "t"}}, what, **body.get(what, {}))
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_an_expired_lease_gives_the_same_trial_to_another_worker(service, let_leases_expire):
    service.submit()
    job = trial_job(service, service.agent("w1"))
    let_leases_expire()
    again = service.agent("w2").must_claim("trial")
    assert (again["id"], again["trial"], again["task"]["ranks"]) == (job["id"], job["trial"], job["task"]["ranks"])
    assert again["attempt"] == 2


def test_a_short_lease_really_expires(start):
    service = start(lease_seconds=0.2)
    service.submit()
    agent = service.agent()
    job = agent.must_claim("baseline")
    time.sleep(0.3)
    assert agent.must_claim("baseline")["id"] == job["id"]


def test_a_late_completion_is_refused_and_changes_nothing(service, let_leases_expire):
    study = service.submit()["id"]
    agent = service.agent()
    job = trial_job(service, agent)
    let_leases_expire()
    sweep(service.backend)
    answer = agent.post(job, "complete", outcome=agent.outcome(job))
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert service.get(f"/v1/studies/{study}")["progress"]["complete"] == 0


def test_a_late_completion_after_another_worker_took_over(service, let_leases_expire):
    study = service.submit()["id"]
    slow, fast = service.agent("slow"), service.agent("fast")
    job = trial_job(service, slow)
    let_leases_expire()
    fast.complete(fast.must_claim("trial"))
    assert slow.post(job, "complete", outcome=slow.outcome(job)).status_code == 409
    assert service.get(f"/v1/studies/{study}")["progress"]["complete"] == 1


def test_the_same_completion_again_answers_the_same(service):
    study = service.submit()["id"]
    agent = service.agent()
    job = trial_job(service, agent)
    answers = [agent.post(job, "complete", outcome=agent.outcome(job)).status_code for _ in range(3)]
    assert answers == [204, 204, 204]
    assert service.get(f"/v1/studies/{study}")["progress"]["complete"] == 1


def test_the_same_failure_again_answers_the_same(service):
    service.submit()
    agent = service.agent()
    job = trial_job(service, agent)
    assert [agent.post(job, "fail", problem=synthetic.problem()).status_code for _ in range(2)] == [204, 204]


def test_a_handed_back_job_comes_first_and_counts_no_attempt(service):
    service.submit()
    agent = service.agent()
    job = trial_job(service, agent)
    other = agent.must_claim("trial")
    assert agent.post(job, "release").status_code == 204
    again = agent.must_claim("trial")
    assert (again["id"], again["attempt"]) == (job["id"], 1)
    assert again["id"] != other["id"]


def test_the_same_release_again_answers_the_same(service):
    service.submit()
    agent = service.agent()
    job = trial_job(service, agent)
    assert [agent.post(job, "release").status_code for _ in range(2)] == [204, 204]


def test_a_released_job_cannot_be_completed(service):
    service.submit()
    agent = service.agent()
    job = trial_job(service, agent)
    agent.post(job, "release")
    assert agent.post(job, "complete", outcome=agent.outcome(job)).status_code == 409


def test_an_outcome_of_another_kind_is_refused(service):
    service.submit()
    agent = service.agent()
    job = agent.must_claim("baseline")
    answer = agent.post(job, "complete", outcome={"kind": "trial", "result": synthetic.result(0.5)})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    agent.complete(job)


def test_two_threads_never_get_the_same_job(service):
    service.submit(n_trials=30)
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    claimed: list[str] = []

    def work(name: str) -> None:
        request = ClaimRequest(worker=name, name=name, device="cpu", version="0")
        while (claimed_job := claim(service.backend, request)) is not None:
            claimed.append(claimed_job.job.id)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 30


def test_trials_planned_at_the_same_time_have_different_ranks(service):
    study = service.submit(n_trials=12)["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    request = ClaimRequest(worker="w", name="w", device="cpu", version="0")
    threads = [threading.Thread(target=claim, args=(service.backend, request)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ranks = {str(trial["ranks"]) for trial in service.trials(study) if trial["origin"] == "sampler"}
    assert len(ranks) == 10


def test_the_sweep_returns_what_nobody_claims(service, let_leases_expire):
    service.submit()
    service.agent().must_claim()
    let_leases_expire()
    sweep(service.backend)
    with service.backend.reading() as session:
        assert session.scalar(select(func.count()).where(JobRow.state == "leased")) == 0


def test_a_claim_tells_how_long_sampling_took(service):
    service.submit()
    agent = service.agent()
    agent.complete(agent.must_claim("baseline"))
    about = {"worker": "w", "name": "w", "device": "cpu", "version": VERSION}
    timing = service.http.post("/v1/jobs/claim", json=about).headers["server-timing"]
    assert timing.startswith("sampling;dur=")
    assert float(timing.partition("=")[2]) > 0
