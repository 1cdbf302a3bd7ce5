"""Files of a study's trials: asked for, made one after another, handed out once they are true."""

import pytest
from sqlalchemy import select

from service.storage.tables import JobRow
from tests.service import synthetic

pytestmark = pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])


def ask(service, study, made="document", trial=None, **headers):
    body = {"format": made, "trial": trial}
    return service.http.post(f"/v1/studies/{study}/artifacts", json=body, headers=headers)


def asked(service, study, made="document", trial=None, **headers):
    answer = ask(service, study, made, trial, **headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def completed(service, **changes):
    study, agent = service.submit(**changes)["id"], service.agent()
    agent.work()
    return study, agent


def other_than_best(service, study):
    best = service.study(study)["best_trial"]
    return next(trial["number"] for trial in service.trials(study) if trial["number"] != best)


def listed(service, study):
    return [
        (one["trial"], one["format"], one["state"]) for one in service.get(f"/v1/studies/{study}/artifacts")["items"]
    ]


def kinds(agent, since=0):
    return [job["task"]["kind"] for job in agent.done[since:]]


def test_the_best_is_asked_for_by_no_number_and_is_the_one_that_is_there(service):
    study, _ = completed(service)
    (there,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    answer = ask(service, study)
    assert (answer.status_code, answer.json()) == (202, there)
    assert answer.headers["location"] == f"/v1/studies/{study}/artifacts/{there['id']}"
    assert service.get(answer.headers["location"]) == there


def test_asked_for_twice_it_is_made_once(service):
    study, agent = completed(service)
    trial, before = other_than_best(service, study), len(agent.done)
    first, second = (asked(service, study, trial=trial) for _ in range(2))
    assert first == second
    assert (first["state"], first["name"]) == ("pending", f"trial-{trial}.safetensors")
    agent.work()
    assert kinds(agent, before) == ["compress"]
    assert agent.done[-1]["trial"] == trial
    assert asked(service, study, trial=trial)["state"] == "ready"


def test_an_export_of_the_best_begins_with_the_document_that_is_there(service):
    study, agent = completed(service)
    (document,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    asked(service, study, "onnx")
    task = agent.must_claim("export")["task"]
    assert (task["format"], task["model"]) == ("onnx", document["blob"])
    assert task["validation"]["start"] == 20


def test_an_export_waits_until_its_document_is_made(service):
    study, agent = completed(service)
    trial, before = other_than_best(service, study), len(agent.done)
    pending = [asked(service, study, made, trial) for made in ("pt2", "onnx")]
    assert {one["state"] for one in pending} == {"pending"}
    document = agent.must_claim("compress")
    assert agent.claim() is None
    agent.complete(document)
    agent.work()
    assert sorted(job["task"].get("format", "document") for job in agent.done[before:]) == ["document", "onnx", "pt2"]
    of_trial = [one for one in listed(service, study) if one[0] == trial]
    assert of_trial == [(trial, made, "ready") for made in ("document", "pt2", "onnx")]


def test_an_export_whose_document_fails_fails_with_its_reason_and_is_made_again_with_it(service):
    study, agent = completed(service)
    trial = other_than_best(service, study)
    export = asked(service, study, "pt2", trial)
    agent.fail(agent.must_claim("compress"), detail="no memory")
    failed = service.get(f"/v1/studies/{study}/artifacts/{export['id']}")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "export_failed")
    assert "no memory" in failed["error"]["detail"]
    service.http.post(f"/v1/studies/{study}/retry")
    agent.work()
    assert [state for number, _, state in listed(service, study) if number == trial] == ["ready", "ready"]


def test_a_failed_file_that_is_asked_for_again_is_made_again(service):
    study, agent = completed(service)
    first = asked(service, study, "onnx")
    agent.fail(agent.must_claim("export"))
    assert service.get(f"/v1/studies/{study}/artifacts/{first['id']}")["state"] == "failed"
    again = asked(service, study, "onnx")
    assert (again["id"], again["state"], again["error"]) == (first["id"], "pending", None)


def test_a_study_that_searches_hands_out_its_complete_trials_and_goes_on(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(3)
    running = agent.must_claim("trial")
    asked(service, study, "pt2", 0)
    agent.complete(running)
    assert [job["task"]["kind"] for job in (agent.must_claim(), service.agent("w2").must_claim())] == [
        "compress",
        "trial",
    ]


def test_files_that_are_made_neither_hold_up_the_end_of_a_study_nor_end_with_it(service):
    study, agent = service.submit(n_trials=2)["id"], service.agent()
    agent.work(2)
    export = asked(service, study, "onnx", 0)
    document = service.agent("maker").must_claim("compress")
    agent.complete(agent.must_claim("trial"))
    assert service.study(study)["state"] == "completed"
    maker = service.agent("maker")
    maker.complete(document)
    maker.work()
    assert service.get(f"/v1/studies/{study}/artifacts/{export['id']}")["state"] == "ready"


def test_a_cancelled_study_still_hands_out_what_it_has_found(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(2)
    asked(service, study, "document", 0)
    assert service.http.post(f"/v1/studies/{study}/cancel").json()["state"] == "cancelled"
    agent.work()
    assert listed(service, study) == [(0, "document", "ready")]


def test_a_paused_study_gives_out_its_files_and_no_trial(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(2)
    service.http.post(f"/v1/studies/{study}/pause")
    asked(service, study, "pt2", 0)
    before = len(agent.done)
    agent.work()
    assert kinds(agent, before) == ["compress", "export"]


def test_a_file_of_a_paused_study_that_waits_for_its_next_attempt_keeps_nobody_from_working(start):
    service = start(retry_base_seconds=3600)
    study, agent = service.submit()["id"], service.agent()
    agent.work(2)
    service.http.post(f"/v1/studies/{study}/pause")
    asked(service, study, "document", 0)
    agent.fail(agent.must_claim("compress"), retry=True)
    other = service.submit()["id"]
    assert agent.must_claim("baseline")["study"] == other


@pytest.mark.parametrize(
    ("number", "refusal"),
    [(0, (409, "trial_not_complete")), (9, (404, "trial_not_found")), (-1, (422, "invalid_request"))],
)
def test_a_trial_that_did_not_complete_is_refused_with_what_to_do(service, number, refusal):
    study, agent = service.submit()["id"], service.agent()
    agent.complete(agent.must_claim("baseline"))
    agent.must_claim("trial")
    answer = ask(service, study, trial=number)
    assert (answer.status_code, answer.json()["code"]) == refusal
    assert number < 0 or answer.json()["mend"]


def test_the_best_of_a_study_that_has_none_is_refused(service):
    answer = ask(service, service.submit()["id"])
    assert (answer.status_code, answer.json()["code"]) == (404, "best_not_found")


def test_an_idempotency_key_keeps_the_best_that_it_was(service):
    study, agent = service.submit(n_trials=3)["id"], service.agent(value=lambda job: 0.1 + 0.2 * (job["trial"] or 0))
    agent.work(2)
    first = asked(service, study, "pt2", **{"Idempotency-Key": "k"})
    agent.work()
    assert service.study(study)["best_trial"] == 2
    again = asked(service, study, "pt2", **{"Idempotency-Key": "k"})
    assert (again["id"], again["trial"], again["state"]) == (first["id"], 0, "ready")
    other = ask(service, study, "onnx", **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204


def test_a_file_that_does_not_agree_fails_with_its_report_and_is_not_handed_out(service):
    study, agent = service.submit(n_trials=1)["id"], service.agent()
    agent.work(2)
    job = agent.must_claim("compress")
    outcome = agent.outcome(job) | {"parity": synthetic.parity(agrees=False)}
    assert agent.post(job, "complete", outcome=outcome).status_code == 204
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert (artifact["state"], artifact["error"]["code"], artifact["blob"]) == ("failed", "artifact_disagrees", None)
    assert (artifact["parity"]["agrees"], artifact["parity"]["max_relative_difference"]) == (False, 0.1)


def test_an_outcome_of_another_kind_is_refused(service):
    study, agent = completed(service)
    asked(service, study, "pt2")
    job = agent.must_claim("export")
    answer = agent.post(job, "complete", outcome=agent.outcome(job) | {"kind": "compress"})
    assert (answer.status_code, answer.json()["expected"]) == (422, "export")


def test_a_file_says_what_its_network_costs_and_how_true_it_is(service):
    study, _ = completed(service)
    best = service.get(f"/v1/studies/{study}/best")
    (artifact,) = service.get(f"/v1/studies/{study}/artifacts")["items"]
    assert (artifact["macs"], artifact["params"]) == (best["macs"], best["params"])
    assert artifact["parity"] == synthetic.parity()


def test_events_tell_of_each_step(service):
    study, agent = completed(service)
    trial = other_than_best(service, study)
    before = service.study(study)["last_event"]
    export = asked(service, study, "onnx", trial)
    agent.work()
    told = service.http.get(f"/v1/studies/{study}/events?after={before}").text
    ready = [line for line in told.splitlines() if export["id"] in line and '"ready"' in line]
    assert len(ready) == 1


def test_content_is_downloaded_in_ranges_under_its_name(service):
    study, agent = completed(service)
    trial = other_than_best(service, study)
    asked(service, study, "onnx", trial)
    agent.work()
    made = asked(service, study, "onnx", trial)
    answer = service.http.get(made["url"], headers={"range": "bytes=0-3"})
    assert (answer.status_code, answer.headers["etag"]) == (206, f'"{made["blob"]["sha256"]}"')
    assert answer.headers["content-disposition"] == f'attachment; filename="trial-{trial}.onnx"'
    assert service.http.get(made["url"], headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_a_lost_lease_on_an_export_leads_to_one_file(start):
    service = start(lease_seconds=60)
    study, agent = completed(service)
    made = asked(service, study, "pt2")
    first = agent.must_claim("export")
    with service.backend.writing() as session:  # the worker died: its lease runs out
        session.get_one(JobRow, first["id"]).lease_expires_at = 1.0
    second = service.agent("w2")
    second.complete(second.must_claim("export"))
    assert agent.post(first, "complete", outcome=agent.outcome(first)).json()["code"] == "lease_lost"
    assert service.get(f"/v1/studies/{study}/artifacts/{made['id']}")["state"] == "ready"
    with service.backend.reading() as session:
        rows = session.scalars(select(JobRow).where(JobRow.study_id == study, JobRow.kind == "pt2")).all()
    assert len(rows) == 1


def test_another_studys_file_is_not_found(service):
    study, _ = completed(service)
    other, _ = completed(service)
    (artifact,) = service.get(f"/v1/studies/{other}/artifacts")["items"]
    for path in (artifact["id"], f"{artifact['id']}/content"):
        answer = service.http.get(f"/v1/studies/{study}/artifacts/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_a_study_whose_export_nobody_can_make_can_be_deleted(service):
    study, agent = completed(service)
    asked(service, study, "onnx", other_than_best(service, study))
    job = agent.must_claim("compress")
    assert service.http.delete(f"/v1/studies/{study}").status_code == 409
    agent.complete(job)
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204
