"""Latency reports of a study's trials: asked for, measured once, measured anew, and told live."""

import pytest
from sqlalchemy import select

from service.storage.tables import JobRow
from tests.service import synthetic

pytestmark = pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])


def ask(service, study, **body):
    headers = body.pop("headers", {})
    return service.http.post(f"/v1/studies/{study}/latency", json=body, headers=headers)


def asked(service, study, **body):
    answer = ask(service, study, **body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def completed(service, **changes):
    study, agent = service.submit(**changes)["id"], service.agent()
    agent.work()
    return study, agent


def got(service, study, report):
    return service.get(f"/v1/studies/{study}/latency/{report['id']}")


def test_the_best_is_asked_for_by_no_number_and_measured_as_a_job(service):
    study, agent = completed(service)
    answer = ask(service, study)
    report = answer.json()
    assert (answer.status_code, report["state"], report["report"]) == (202, "pending", None)
    assert report["trial"] == service.study(study)["best_trial"]
    assert answer.headers["location"] == f"/v1/studies/{study}/latency/{report['id']}"
    job = agent.must_claim("latency")
    best = service.get(f"/v1/studies/{study}/best")
    assert (job["trial"], job["task"]["ranks"]) == (best["trial"], best["ranks"])
    assert job["task"]["batches"] == [1, 32]
    assert job["task"]["runtimes"] == ["torch", "torch_compile", "onnxruntime"]
    agent.complete(job)
    ready = service.get(answer.headers["location"])
    assert (ready["state"], ready["worker"], ready["macs"]) == ("ready", "w1", best["macs"])
    assert service.get(f"/v1/studies/{study}/latency")["items"] == [ready]


def test_a_report_says_what_it_comes_to_and_which_layers_to_leave_dense(service):
    study, agent = completed(service)
    report = asked(service, study)
    agent.work()
    ready = got(service, study, report)
    slower = [layer["name"] for layer in ready["report"]["layers"] if layer["leave_dense"]]
    assert ready["leave_dense"] == slower == list(agent.done[-1]["task"]["ranks"])[1::2]
    assert ready["verdict"].startswith("Faster (")
    assert "1.50× as fast at batch 1 (torch, contiguous: 3 → 2 ms)" in ready["verdict"]
    compiled = [row for row in ready["report"]["rows"] if row["runtime"] == "torch_compile"]
    assert {row["why_not"] for row in compiled} == {"the worker may not start a compiler"}


def test_asked_for_twice_with_the_same_settings_it_is_measured_once(service):
    study, agent = completed(service)
    before = len(agent.done)
    first, second = asked(service, study, batches=[1, 8]), asked(service, study, batches=[8, 1, 8])
    assert first == second
    agent.work()
    assert [job["task"]["kind"] for job in agent.done[before:]] == ["latency"]
    assert asked(service, study, batches=[1, 8])["state"] == "ready"
    assert agent.claim() is None


@pytest.mark.parametrize("change", [{"batches": [1, 2]}, {"runtimes": ["torch"]}, {"again": True}])
def test_with_other_settings_or_again_it_is_measured_anew_in_its_place(service, change):
    study, agent = completed(service)
    first = asked(service, study)
    agent.work()
    anew = asked(service, study, **change)
    assert (anew["id"], anew["state"], anew["report"]) == (first["id"], "pending", None)
    agent.complete(agent.must_claim("latency"))
    ready = got(service, study, first)
    assert ready["state"] == "ready"
    assert {row["batch"] for row in ready["report"]["rows"]} == set(anew["batches"])
    assert {row["runtime"] for row in ready["report"]["rows"]} == set(anew["runtimes"])


def test_what_waits_takes_other_settings_and_what_is_being_measured_does_not(service):
    study, agent = completed(service)
    asked(service, study)
    report = asked(service, study, batches=[4])
    job = agent.must_claim("latency")
    assert job["task"]["batches"] == [4]
    assert asked(service, study, batches=[4], again=True)["id"] == report["id"]
    refused = ask(service, study, batches=[2])
    assert (refused.status_code, refused.json()["code"]) == (409, "latency_in_progress")
    agent.complete(job)
    assert asked(service, study, batches=[2])["state"] == "pending"


@pytest.mark.parametrize("batches", [[], [0], [2000], [1, 2, 3, 4, 5], ["x"]])
def test_batch_sizes_that_make_no_sense_are_refused(service, batches):
    study = service.submit()["id"]
    assert (ask(service, study, batches=batches).status_code, ask(service, study, warm=1).status_code) == (422, 422)


@pytest.mark.parametrize(
    ("number", "refusal"),
    [(0, (409, "trial_not_complete")), (9, (404, "trial_not_found")), (None, (404, "best_not_found"))],
)
def test_a_trial_that_did_not_complete_is_refused(service, number, refusal):
    study, agent = service.submit()["id"], service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.must_claim("trial")
    answer = ask(service, study, trial=number)
    assert (answer.status_code, answer.json()["code"]) == refusal


def test_a_failed_measurement_says_why_and_is_done_again_by_a_retry_or_by_asking(service):
    study, agent = completed(service)
    report = asked(service, study, batches=[1, 5])
    agent.fail(agent.must_claim("latency"), detail="no memory")
    failed = got(service, study, report)
    assert (failed["state"], failed["error"]["detail"]) == ("failed", "no memory")
    assert service.http.post(f"/v1/studies/{study}/retry").status_code == 200
    job = agent.must_claim("latency")
    assert job["task"]["batches"] == [1, 5]
    agent.fail(job)
    assert asked(service, study, batches=[1, 5])["state"] == "pending"
    agent.work()
    assert got(service, study, report)["state"] == "ready"


def test_it_neither_holds_up_the_end_of_a_study_nor_ends_with_it(service):
    study, agent = service.submit(n_trials=2)["id"], service.agent()
    agent.work(2)
    report = asked(service, study, trial=0)
    measuring = service.agent("timer")
    job = measuring.must_claim("latency")
    agent.complete(agent.must_claim("trial"))
    assert service.study(study)["state"] == "completed"
    assert service.http.delete(f"/v1/studies/{study}").status_code == 409
    measuring.complete(job)
    assert got(service, study, report)["state"] == "ready"
    agent.work()
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204


def test_a_paused_and_a_cancelled_study_are_still_measured(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(2)
    service.http.post(f"/v1/studies/{study}/pause")
    asked(service, study, trial=0)
    assert agent.work() == 1
    service.http.post(f"/v1/studies/{study}/cancel")
    asked(service, study, trial=0, again=True)
    assert agent.work() == 1
    assert agent.done[-1]["task"]["kind"] == "latency"


def test_a_trial_counts_once_whatever_is_measured_of_it(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(2)
    asked(service, study, trial=0)
    agent.work()
    found = service.study(study)
    assert (found["state"], found["progress"]["complete"]) == ("completed", 4)
    assert [trial["number"] for trial in service.trials(study)] == [0, 1, 2, 3]


def test_a_lost_lease_leads_to_one_report(start):
    service = start(lease_seconds=60)
    study, agent = completed(service)
    report = asked(service, study)
    first = agent.must_claim("latency")
    with service.backend.writing() as session:  # the worker died: its lease runs out
        session.get_one(JobRow, first["id"]).lease_expires_at = 1.0
    second = service.agent("w2")
    second.complete(second.must_claim("latency"))
    assert agent.post(first, "complete", outcome=agent.outcome(first)).json()["code"] == "lease_lost"
    ready = got(service, study, report)
    assert (ready["state"], ready["worker"]) == ("ready", "w2")
    with service.backend.reading() as session:
        rows = session.scalars(select(JobRow).where(JobRow.study_id == study, JobRow.kind == "latency")).all()
    assert len(rows) == 1


def test_events_tell_of_each_step_and_end_after_it(service):
    study, agent = completed(service)
    before = service.study(study)["last_event"]
    report = asked(service, study)
    agent.work()
    told = service.http.get(f"/v1/studies/{study}/events?after={before}").text
    steps = [line for line in told.splitlines() if line.startswith("data:") and report["id"] in line]
    assert ['"pending"' in steps[0], '"ready"' in steps[-1], len(steps)] == [True, True, 2]
    assert told.count("event: latency") == 2


def test_an_outcome_of_another_kind_or_with_numbers_that_are_none_is_refused(service):
    study, agent = completed(service)
    asked(service, study)
    job = agent.must_claim("latency")
    wrong = {"kind": "compress", "sha256": "0" * 64, "parity": synthetic.parity()}
    assert agent.post(job, "complete", outcome=wrong).json()["expected"] == "latency"
    report = synthetic.latency_report(job["task"])
    report["rows"][0]["measured"]["speedup"] = "NaN"
    answer = agent.post(job, "complete", outcome={"kind": "latency", "report": report})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    agent.complete(job)


def test_an_idempotency_key_keeps_the_trial_and_measures_again_once(service):
    study, agent = service.submit(n_trials=3)["id"], service.agent(value=lambda job: 0.1 + 0.2 * (job["trial"] or 0))
    agent.work(2)
    first = asked(service, study, headers={"Idempotency-Key": "k"}, again=True)
    agent.work()
    assert service.study(study)["best_trial"] == 2
    again = asked(service, study, headers={"Idempotency-Key": "k"}, again=True)
    assert (again["id"], again["trial"], again["state"]) == (first["id"], 0, "ready")
    other = ask(service, study, headers={"Idempotency-Key": "k"}, batches=[3])
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_another_studys_report_is_not_found(service):
    study, agent = completed(service)
    other, _ = completed(service)
    report = asked(service, other)
    document = service.get(f"/v1/studies/{study}/artifacts")["items"][0]
    for wrong in (report["id"], document["id"], "nothing"):
        answer = service.http.get(f"/v1/studies/{study}/latency/{wrong}")
        assert (answer.status_code, answer.json()["code"]) == (404, "latency_not_found")
    assert service.http.get(f"/v1/studies/{other}/artifacts/{report['id']}").status_code == 404
    agent.work()


def test_who_may_only_read_sees_reports_and_asks_for_none(service):
    study, agent = completed(service)
    asked(service, study)
    agent.work()
    token = service.http.post("/v1/tokens", json={"name": "reader", "scopes": ["read"]}).json()
    headers = {"authorization": f"Bearer {token['secret']}"}
    assert len(service.http.get(f"/v1/studies/{study}/latency", headers=headers).json()["items"]) == 1
    refused = ask(service, study, headers=headers, again=True)
    assert (refused.status_code, refused.json()["code"]) == (403, "token_scope")
