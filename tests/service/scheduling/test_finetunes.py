"""Trials fine-tuned: asked for, told of on their way, taken up again, and the best network chosen by them."""

import pytest
from sqlalchemy import select

from service.scheduling.garbage import forget_blobs
from service.storage.tables import BlobRow, EventRow
from tests.service import synthetic


def ask(service, study, **body):
    return service.http.post(f"/v1/studies/{study}/finetunes", json=body)


def asked(service, study, **body):
    answer = ask(service, study, **body)
    assert answer.status_code == 202, answer.text
    return answer.json()["items"]


def listed(service, study):
    return service.get(f"/v1/studies/{study}/finetunes")["items"]


def completed(service, **changes):
    """A study whose trials all differ, the first one being the best."""
    study = service.submit(**changes)["id"]
    agent = service.agent(value=lambda job: 0.8 - job["trial"] / 100)
    agent.work()
    return study, agent


def best_first(service, study):
    """The numbers of the complete trials."""
    trials = [trial for trial in service.trials(study) if trial["state"] == "COMPLETE"]
    return [trial["number"] for trial in sorted(trials, key=lambda trial: -trial["value"])]


def point(step, loss=1.0):
    return {"step": step, "loss": loss, "learning_rate": 0.01}


def told(agent, job, **body):
    return agent.post(job, "progress", **body)


def checkpoint(agent, salt=1):
    return agent.put(synthetic.tensor_file({"steps": "1"}, {}) + bytes([salt]))


def artifact_names(service, study):
    return {one["name"] for one in service.get(f"/v1/studies/{study}/artifacts")["items"]}


def seen(service, study):
    """What its watchers were told of fine-tunings."""
    with service.backend.reading() as session:
        mine = (EventRow.study_id == study, EventRow.kind == "finetune")
        return list(session.scalars(select(EventRow.data).where(*mine).order_by(EventRow.number)))


def test_the_best_three_are_asked_for_where_nothing_is_said(service):
    study, agent = completed(service)
    made = asked(service, study)
    assert sorted(one["trial"] for one in made) == sorted(best_first(service, study)[:3])
    assert {one["state"] for one in made} == {"pending"}
    agent.work()
    assert {one["state"] for one in listed(service, study)} == {"ready"}


def test_a_training_starts_from_its_trials_document_and_gets_images_that_do_not_validate(service):
    study, agent = completed(service)
    other = best_first(service, study)[1]
    asked(service, study, trials=[other], recipe={"epochs": 3})
    agent.complete(agent.must_claim("compress"))
    task = agent.must_claim("finetune")["task"]
    assert (task["training"]["start"], task["training"]["stop"]) == (0, 20)
    assert (task["validation"]["start"], task["validation"]["stop"]) == (20, 40)
    assert task["recipe"]["epochs"] == 3
    documents = {one["blob"]["sha256"] for one in service.get(f"/v1/studies/{study}/artifacts")["items"] if one["blob"]}
    assert task["document"]["sha256"] in documents
    assert task["checkpoint"] is None


def test_what_is_left_open_in_a_recipe_follows_from_the_images(service):
    study, _ = completed(service)
    (one,) = asked(service, study, top=1)
    assert one["recipe"]["distillation"] == 0.9
    assert one["steps"] == round(one["recipe"]["epochs"])  # 20 images are one step


def test_without_labels_the_dense_network_alone_is_learnt_from(service):
    service.prepare(labels=None)
    study, agent = completed(service, metric="kl")
    (one,) = asked(service, study, top=1, recipe={"distillation": 0.2})
    assert one["recipe"]["distillation"] == 1.0
    del agent


def test_asked_for_again_as_before_it_is_the_same_and_is_made_once(service):
    study, agent = completed(service)
    first = asked(service, study, top=1)
    assert asked(service, study, top=1)[0]["id"] == first[0]["id"]
    agent.work()
    done = asked(service, study, top=1)
    assert (done[0]["id"], done[0]["state"]) == (first[0]["id"], "ready")
    assert [job["task"]["kind"] for job in agent.done].count("finetune") == 1


def test_another_recipe_waits_for_the_end_of_the_first_and_begins_anew(service):
    study, agent = completed(service)
    (first,) = asked(service, study, top=1)
    refused = ask(service, study, top=1, recipe={"epochs": 5})
    assert (refused.status_code, refused.json()["code"]) == (409, "finetune_in_progress")
    agent.work()
    assert service.study(study)["tuning"]["chosen"] == first["trial"]
    (again,) = asked(service, study, top=1, recipe={"epochs": 5})
    assert (again["id"], again["state"], again["after"], again["curve"]) == (first["id"], "pending", None, [])
    assert service.study(study)["tuning"]["chosen"] is None
    agent.work()
    assert listed(service, study)[0]["recipe"]["epochs"] == 5
    assert service.study(study)["tuning"]["chosen"] == first["trial"]


def test_progress_is_told_to_those_who_watch(service):
    study, agent = completed(service)
    (one,) = asked(service, study, top=1)
    job = agent.must_claim("finetune")
    score = synthetic.tuning_score(0.7)
    assert told(agent, job, points=[point(1), point(2, 0.5)], before=score).status_code == 204
    assert told(agent, job, points=[point(2, 0.4), point(3, 0.25)]).status_code == 204
    found = service.get(f"/v1/studies/{study}/finetunes/{one['id']}")
    assert (found["state"], found["step"], found["worker"]) == ("running", 3, "w1")
    assert [p["loss"] for p in found["curve"]] == [1.0, 0.5, 0.25]
    assert found["before"] == score
    assert [event["step"] for event in seen(service, study)] == [0, 2, 3]
    assert seen(service, study)[-1] == service.get(f"/v1/studies/{study}/finetunes/{one['id']}")


@pytest.mark.parametrize("state", ["lost", "other"])
def test_progress_is_fenced_by_the_lease(service, state, let_leases_expire):
    study, agent = completed(service)
    asked(service, study, top=1)
    job = agent.must_claim("finetune")
    if state == "lost":
        let_leases_expire()
        assert service.agent("w2").must_claim("finetune")["id"] == job["id"]
        answer = told(agent, job, points=[point(1)])
    else:
        answer = agent.http.post(f"/v1/jobs/{job['id']}/progress", json={"lease_token": "x", "points": []})
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert listed(service, study)[0]["curve"] == []


def test_only_a_training_has_progress(service):
    service.submit()
    agent = service.agent()
    job = agent.must_claim("baseline")
    answer = told(agent, job, points=[point(1)])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_it_goes_on_from_its_checkpoint_and_counts_its_attempts_from_there(service, let_leases_expire):
    study, agent = completed(service)
    asked(service, study, top=1)
    for attempt in range(5):  # more than attempts, and than crashes, are allowed
        job = service.agent(f"w{attempt}").must_claim("finetune")
        blob = job["task"]["checkpoint"]
        assert (blob is None) == (attempt == 0)
        assert told(agent, job, resumed_at=attempt if blob else None).status_code == 204
        sha256 = checkpoint(agent, attempt)
        step = attempt + 1
        assert told(agent, job, points=[point(step)], checkpoint=sha256, checkpoint_step=step).status_code == 204
        let_leases_expire()
    agent.work()
    (one,) = listed(service, study)
    assert (one["state"], one["resumed"]) == ("ready", 4)
    assert [p["step"] for p in one["curve"]] == [1, 2, 3, 4, 5]


def test_a_checkpoint_that_was_not_uploaded_is_refused(service):
    study, agent = completed(service)
    asked(service, study, top=1)
    job = agent.must_claim("finetune")
    answer = told(agent, job, checkpoint="ab" * 32, checkpoint_step=1)
    assert (answer.status_code, answer.json()["code"]) == (404, "blob_not_found")


def test_a_checkpoint_is_kept_while_it_is_of_use_and_no_longer(service):
    study, agent = completed(service)
    asked(service, study, top=1)
    job = agent.must_claim("finetune")
    first, second = (checkpoint(agent, salt) for salt in (1, 2))
    for step, sha256 in ((1, first), (2, second)):
        told(agent, job, points=[point(step)], checkpoint=sha256, checkpoint_step=step)
    forget_blobs(service.backend, -1)
    assert kept(service, first, second) == [second]
    agent.complete(job)
    forget_blobs(service.backend, -1)
    assert kept(service, first, second) == []


def kept(service, *blobs):
    with service.backend.reading() as session:
        return list(session.scalars(select(BlobRow.sha256).where(BlobRow.sha256.in_(blobs))))


def test_the_network_that_is_best_after_training_is_the_studys_best(service):
    study, agent = completed(service)
    first, second, third = best_first(service, study)[:3]
    agent.tuned = {first: 0.05, second: 0.15, third: 0.01}
    asked(service, study, top=3)
    agent.work()
    found = service.study(study)
    assert found["best_trial"] == second
    assert found["tuning"] == {
        "asked": 3,
        "ready": 3,
        "failed": 0,
        "improved": 3,
        "chosen": second,
        "kendall_tau": pytest.approx(1 / 3),
    }
    best = service.get(f"/v1/studies/{study}/best")
    assert (best["trial"], best["finetune"]["trial"], best["finetune"]["chosen"]) == (second, second, True)
    pulled = service.http.post(f"/v1/studies/{study}/artifacts", json={}).json()
    assert (pulled["trial"], pulled["tuned"], pulled["name"]) == (second, True, "compressed.safetensors")
    assert {f"trial-{first}.safetensors", f"trial-{third}-tuned.safetensors"} <= artifact_names(service, study)


def test_a_network_that_got_worse_is_not_taken(service):
    study, agent = completed(service)
    best = service.study(study)["best_trial"]
    agent.tuned = dict.fromkeys(best_first(service, study), -0.1)
    asked(service, study)
    agent.work()
    found = service.study(study)
    assert (found["best_trial"], found["tuning"]["chosen"], found["tuning"]["improved"]) == (best, None, 0)
    assert "compressed.safetensors" in artifact_names(service, study)
    pulled = service.http.post(f"/v1/studies/{study}/artifacts", json={}).json()
    assert (pulled["trial"], pulled["tuned"]) == (best, False)


def test_where_a_cost_is_an_objective_no_other_trial_is_taken(service):
    study, agent = completed(service, objectives=["macs"], max_drop=0.5, constraints={})
    best = service.study(study)["best_trial"]
    agent.tuned = {number: 0.0 if number == best else 0.2 for number in best_first(service, study)}
    agent.tuned[best] = 0.05
    asked(service, study, trials=best_first(service, study))
    agent.work()
    found = service.study(study)
    assert (found["best_trial"], found["tuning"]["chosen"]) == (best, best)


def test_a_study_that_asks_for_it_has_its_best_fine_tuned_at_its_end(service):
    study, agent = completed(service, finetune={"top": 2, "recipe": {"epochs": 4}})
    found = listed(service, study)
    assert sorted(one["trial"] for one in found) == sorted(best_first(service, study)[:2])
    assert {(one["state"], one["recipe"]["epochs"]) for one in found} == {("ready", 4)}
    kinds = [job["task"]["kind"] for job in agent.done]
    assert kinds.count("finetune") == 2
    assert service.study(study)["tuning"]["ready"] == 2


def test_training_images_that_validate_are_refused_when_the_study_is_submitted(service):
    wanted = service.request()
    wanted["finetune"] = {"training": {**wanted["validation"], "start": 10}}
    answer = service.http.post("/v1/studies", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_overlap")
    assert "training" in answer.json()["detail"]


def test_a_network_that_is_no_classifier_is_refused(service):
    profile = synthetic.profile().model_copy(update={"output_shapes": [[10, 4, 4]]})
    service.prepare(profile=profile)
    study, agent = service.submit(metric="features")["id"], service.agent()
    agent.work()
    answer = ask(service, study, top=1)
    assert (answer.status_code, answer.json()["code"]) == (422, "finetune_unsupported")


def test_a_trial_that_is_not_complete_is_not_trained(service):
    study, agent = service.submit()["id"], service.agent()
    assert ask(service, study).json()["code"] == "best_not_found"
    agent.work(2)
    assert ask(service, study, trials=[99]).json()["code"] == "trial_not_found"
    job = agent.must_claim("trial")
    answer = ask(service, study, trials=[job["trial"]])
    assert (answer.status_code, answer.json()["code"]) == (409, "trial_not_complete")


def test_one_that_fails_says_why_and_is_done_again_with_what_else_failed(service):
    study, agent = completed(service)
    (one,) = asked(service, study, top=1)
    exported = {"trial": one["trial"], "tuned": True, "format": "onnx"}
    assert service.http.post(f"/v1/studies/{study}/artifacts", json=exported).status_code == 202
    job = agent.must_claim("finetune")
    told(agent, job, points=[point(1)], checkpoint=checkpoint(agent), checkpoint_step=1)
    agent.fail(job, detail="no memory", code="evaluation_out_of_memory")
    (failed,) = listed(service, study)
    assert (failed["state"], failed["error"]["detail"]) == ("failed", "no memory")
    assert service.study(study)["tuning"]["failed"] == 1
    assert service.http.post(f"/v1/studies/{study}/retry").status_code == 200
    assert agent.must_claim("finetune")["task"]["checkpoint"] is not None


def test_one_whose_document_cannot_be_made_fails_with_its_reason(service):
    study, agent = completed(service)
    asked(service, study, trials=[best_first(service, study)[1]])
    agent.fail(agent.must_claim("compress"), detail="the disk is full")
    (one,) = listed(service, study)
    assert (one["state"], one["error"]["code"]) == ("failed", "finetune_failed")
    assert "the disk is full" in one["error"]["detail"]
    assert seen(service, study)[-1]["state"] == "failed"


def test_a_cancelled_one_stops_and_goes_on_where_it_was_when_it_is_asked_for_again(service):
    study, agent = completed(service)
    (one,) = asked(service, study, top=1)
    job = agent.must_claim("finetune")
    told(agent, job, points=[point(1)], checkpoint=checkpoint(agent), checkpoint_step=1)
    path = f"/v1/studies/{study}/finetunes/{one['id']}/cancel"
    assert service.http.post(path).json()["state"] == "cancelled"
    assert service.http.post(path).json()["state"] == "cancelled"
    assert agent.post(job, "renew").status_code == 409
    asked(service, study, top=1)
    assert agent.must_claim("finetune")["task"]["checkpoint"] is not None
    agent.work()


def test_one_that_has_ended_is_not_cancelled(service):
    study, agent = completed(service)
    (one,) = asked(service, study, top=1)
    agent.work()
    answer = service.http.post(f"/v1/studies/{study}/finetunes/{one['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "finetune_ended")


def test_exports_of_a_fine_tuned_network_begin_with_its_document(service):
    study, agent = completed(service)
    (one,) = asked(service, study, top=1)
    wanted = {"trial": one["trial"], "tuned": True}
    pending = [
        service.http.post(f"/v1/studies/{study}/artifacts", json={**wanted, "format": made}).json()
        for made in ("document", "pt2", "onnx")
    ]
    assert pending[0]["id"] == one["id"]
    assert {file["state"] for file in pending} == {"pending"}
    agent.work()
    formats = [job["task"]["format"] for job in agent.done if job["task"]["kind"] == "export"]
    assert sorted(formats) == ["onnx", "pt2"]


def test_there_is_no_file_of_a_network_that_nobody_had_fine_tuned(service):
    study, _ = completed(service)
    answer = service.http.post(f"/v1/studies/{study}/artifacts", json={"tuned": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finetuned")


def test_a_data_set_that_is_trained_on_is_not_deleted_and_a_study_goes_with_its_trainings(service):
    study, agent = completed(service)
    other = service.upload_dataset(synthetic.dataset_document(salt=5), name="more").json()["id"]
    asked(service, study, top=1, training={"dataset": other})
    refused = service.http.delete(f"/v1/datasets/{other}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    agent.work()
    assert service.http.delete(f"/v1/studies/{study}").status_code == 204
    assert service.http.delete(f"/v1/datasets/{other}").status_code == 204


def test_a_study_that_searches_again_has_its_own_best_again(service):
    study, agent = service.submit()["id"], service.agent()
    agent.work(3)
    agent.fail(agent.must_claim("trial"))
    agent.work()
    first = service.study(study)
    asked(service, study, top=1)
    agent.work()
    assert service.study(study)["tuning"]["chosen"] == first["best_trial"]
    service.http.post(f"/v1/studies/{study}/retry")
    assert service.study(study)["tuning"]["chosen"] is None
    agent.work()
    assert service.study(study)["tuning"]["chosen"] is not None
