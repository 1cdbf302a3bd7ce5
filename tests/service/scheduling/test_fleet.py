from __future__ import annotations

import pytest
from sqlalchemy import event, update

from service.scheduling.reconcile import sweep
from service.storage.tables import WorkerRow
from service.version import VERSION
from tests.service import synthetic

MAJOR, MINOR = (int(part) for part in VERSION.split(".")[:2])


def test_a_worker_that_leaves_hands_back_what_it_holds_uncounted(service):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent("leaving")
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    assert service.http.delete("/v1/workers/leaving").status_code == 204
    assert agent.post(job, "complete", outcome=agent.outcome(job)).json()["code"] == "lease_lost"
    again = service.agent("other").must_claim("trial")
    assert (again["id"], again["attempt"], again["task"]["ranks"]) == (job["id"], 1, job["task"]["ranks"])
    assert service.get(f"/v1/studies/{study}")["progress"]["running"] == 1


def test_a_worker_that_left_is_given_nothing_and_counts_as_away(service):
    service.submit()
    agent = service.agent("leaving")
    agent.complete(agent.must_claim("baseline"))
    service.http.delete("/v1/workers/leaving")
    assert agent.claim() is None
    states = {worker["id"]: worker["state"] for worker in service.get("/v1/workers")["items"]}
    assert states["leaving"] == "away"


def test_leaving_is_harmless_for_a_worker_never_seen(service):
    assert service.http.delete("/v1/workers/nobody").status_code == 204


def claim(service, **about):
    body = {"worker": "w1", "name": "box", "device": "cpu", "version": VERSION, **about}
    return service.http.post("/v1/jobs/claim", json=body)


def worker(service, name="w1"):
    (found,) = [each for each in service.get("/v1/workers")["items"] if each["id"] == name]
    return found


def drain(service, name="w1", how="drain"):
    answer = service.http.post(f"/v1/workers/{name}/{how}")
    assert answer.status_code == 204, answer.text


def test_what_a_worker_says_of_itself_is_shown(service):
    sandbox = [{"name": "no network", "in_force": False, "reason": "not allowed here"}]
    claim(service, labels={"site": "berlin"}, memory_bytes=80 << 30, sandbox=sandbox, holds=["ab" * 32])
    seen = worker(service)
    assert (seen["labels"], seen["memory_bytes"], seen["sandbox"]) == ({"site": "berlin"}, 80 << 30, sandbox)
    with service.backend.reading() as session:
        assert session.get_one(WorkerRow, "w1").holds == ["ab" * 32]


def test_news_of_a_worker_are_seen_at_its_next_claim(service):
    claim(service, labels={"site": "berlin"})
    claim(service, labels={"site": "paris"})
    assert worker(service)["labels"] == {"site": "paris"}


def test_a_claim_that_says_nothing_new_writes_nothing(service):
    claim(service)
    sent = []
    event.listen(service.backend.database.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    for _ in range(5):
        claim(service)
    assert sent
    assert {statement.split()[0] for statement in sent} <= {"BEGIN", "SELECT"}


def test_a_worker_at_work_is_busy_with_a_trial_of_a_study(service):
    study = service.submit()["id"]
    agent = service.agent("w1")
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    seen = worker(service)
    assert (seen["state"], seen["job"], seen["study"], seen["trial"]) == ("busy", job["id"], study, job["trial"])
    agent.complete(job)
    seen = worker(service)
    assert (seen["state"], seen["job"], seen["study"], seen["trial"]) == ("idle", None, None, None)


def test_a_draining_worker_finishes_its_job_and_gets_no_other(service):
    service.submit()
    agent = service.agent("w1")
    job = agent.must_claim("baseline")
    drain(service)
    assert (worker(service)["state"], worker(service)["job"]) == ("draining", job["id"])
    agent.complete(job)
    assert agent.claim() is None
    assert service.agent("w2").must_claim("trial")


def test_a_draining_worker_learns_of_it_by_its_renewal_and_by_its_claim(service):
    service.submit()
    agent = service.agent("w1")
    job = agent.must_claim("baseline")
    assert agent.post(job, "renew").json()["draining"] is False
    drain(service)
    assert agent.post(job, "renew").json()["draining"] is True
    answer = claim(service)
    assert (answer.status_code, answer.headers["ranksearch-drain"]) == (204, "1")


def test_a_draining_worker_is_answered_at_once(service):
    claim(service)
    drain(service)
    answer = claim(service, wait_seconds=60)  # a test that takes a minute has failed, too
    assert answer.elapsed.total_seconds() < 30


def test_an_undrained_worker_gets_jobs_again(service):
    service.submit()
    service.agent("w1").claim()
    for how in ("drain", "drain", "undrain", "undrain"):  # repeated, neither does anything
        drain(service, how=how)
    assert worker(service)["state"] == "busy"
    assert claim(service).status_code == 200


@pytest.mark.parametrize("how", ["drain", "undrain"])
def test_an_unknown_worker_cannot_be_drained(service, how):
    answer = service.http.post(f"/v1/workers/nobody/{how}")
    assert (answer.status_code, answer.json()["code"]) == (404, "worker_not_found")


def test_workers_that_drain_do_not_count_as_connected(service):
    study = service.submit()["id"]
    drain(service, "inspector")
    assert "no worker" in service.study(study)["waiting_for"]


@pytest.mark.parametrize(
    "version", [f"{MAJOR}.{MINOR}.0", f"{MAJOR}.{MINOR}.99", f"{MAJOR}.{MINOR}", f"{MAJOR}.{MINOR}.1rc2+cu128"]
)
def test_a_worker_of_the_same_major_and_minor_version_is_welcome(service, version):
    assert claim(service, version=version).status_code == 204


@pytest.mark.parametrize(
    "version", [f"{MAJOR}.{MINOR + 1}.0", f"{MAJOR + 1}.{MINOR}.0", f"{MAJOR}.{MINOR}1.0", "0", "", "0+unknown", "new"]
)
def test_a_worker_of_another_version_is_refused_with_what_to_do(service, version):
    answer = claim(service, version=version)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "worker_outdated")
    assert f"version {version}" in problem["got"]
    assert f"{MAJOR}.{MINOR}.*" in problem["expected"]
    assert "install" in problem["mend"]
    assert service.get("/v1/workers")["items"] == []


def gone_for(service, seconds):
    with service.backend.writing() as session:
        session.execute(update(WorkerRow).values(last_seen_at=WorkerRow.last_seen_at - seconds))


def test_a_worker_that_is_away_for_long_leaves_the_list(service):
    claim(service)
    gone_for(service, 7 * 86_400 - 60)
    sweep(service.backend)
    assert worker(service)["state"] == "away"
    gone_for(service, 120)
    sweep(service.backend)
    assert service.get("/v1/workers")["items"] == []


def test_a_forgotten_worker_that_comes_back_is_listed_again(service):
    claim(service)
    gone_for(service, 8 * 86_400)
    sweep(service.backend)
    claim(service)
    assert worker(service)["state"] == "idle"


def out_of_memory(agent, job, memory_bytes):
    problem = synthetic.problem("evaluation_out_of_memory", "too large") | {"extra": {"memory_bytes": memory_bytes}}
    assert agent.post(job, "fail", problem=problem, retry=True).status_code == 204


@pytest.mark.parametrize(("other", "state"), [(80 << 30, "FAIL"), (81 << 30, "WAITING")])
def test_what_is_too_large_is_tried_again_only_where_there_is_more_memory(service, other, state):
    study = service.submit()["id"]
    agent = service.agent("w2")
    agent.complete(agent.must_claim("baseline"))
    claimed = claim(service, worker="other", memory_bytes=other)
    assert claimed.status_code == 200
    job = agent.must_claim("trial")
    out_of_memory(agent, job, 80 << 30)
    assert {trial["number"]: trial["state"] for trial in service.trials(study)}[job["trial"]] == state
