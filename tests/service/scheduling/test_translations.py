"""Models that were uploaded as ONNX files: workers make documents of them, and the service goes on with these."""

from __future__ import annotations

import pytest

from service.scheduling.garbage import forget_blobs
from service.storage.tables import ModelRow
from tests.service import synthetic
from tests.service.access_stories import bearer, token_for


@pytest.fixture
def uploaded(service):
    """The model, before a worker has looked at it."""
    answer = service.upload_model(synthetic.onnx_file())
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def translated(service, uploaded):
    agent = service.agent("inspector")
    agent.complete(agent.must_claim("inspect"))
    return service.get(f"/v1/models/{uploaded['id']}")


def blob(content):
    return {"sha256": synthetic.sha256(content), "size": len(content)}


def refusal(service, job, **changes):
    agent = service.agent("inspector")
    outcome = agent.outcome(job) | changes
    answer = agent.post(job, "complete", outcome=outcome)
    assert 400 <= answer.status_code < 500
    return answer.json()["code"]


def test_a_file_that_was_uploaded_is_kept_as_it_is_and_not_opened(service, uploaded):
    content = synthetic.onnx_file()
    assert (uploaded["state"], uploaded["summary"], uploaded["blob"]) == ("inspecting", None, blob(content))
    assert uploaded["source"] == {
        "format": "onnx", "blob": blob(content), "opset": None, "producer": None, "max_relative_difference": None,
    }  # fmt: skip
    assert service.http.get(f"/v1/blobs/{synthetic.sha256(content)}").content == content


def test_the_worker_is_told_what_the_file_is(service, uploaded):
    task = service.agent().must_claim("inspect")["task"]
    assert (task["format"], task["model"]) == ("onnx", uploaded["blob"])


def test_the_model_goes_on_with_the_document_and_keeps_where_it_came_from(service, uploaded, translated):
    assert (translated["state"], translated["error"]) == ("ready", None)
    assert translated["source"] == {
        "format": "onnx", "blob": uploaded["blob"], "opset": 18, "producer": "pytorch 2.14",
        "max_relative_difference": 1e-6,
    }  # fmt: skip
    assert translated["blob"] != uploaded["blob"]
    assert translated["summary"]["inputs"][0]["shape"] == [3, 8, 8]
    document = service.http.get(f"/v1/blobs/{translated['blob']['sha256']}").content
    assert blob(document) == translated["blob"]
    assert translated["profile"]["sites"]


def test_studies_are_of_the_document(service, translated):
    data = service.upload_dataset().json()["id"]
    service.uploaded.update(model=translated["id"], dataset=data)
    study = service.submit(n_trials=2)["id"]
    agent = service.agent("searcher")
    agent.work()
    assert service.study(study)["state"] == "completed"
    assert {job["task"]["model"]["sha256"] for job in agent.done} == {translated["blob"]["sha256"]}


def test_a_worker_that_has_the_document_in_memory_is_preferred_as_for_any_model(service, translated):
    data = service.upload_dataset().json()["id"]
    service.uploaded.update(model=translated["id"], dataset=data)
    other = service.upload_model(synthetic.model_document(salt=7)).json()["id"]
    inspector = service.agent("inspector")
    inspector.complete(inspector.must_claim("inspect"))
    studies = [service.submit(model=model, n_trials=1)["id"] for model in (other, translated["id"])]
    for name in ("first", "second"):
        baseline = service.agent(name)
        baseline.complete(baseline.must_claim("baseline"))
    holder = service.agent("holder", about={"holds": [translated["blob"]["sha256"]]})
    assert holder.must_claim("trial")["study"] == studies[1]


def test_the_same_file_again_is_the_same_model(service, translated):
    answer = service.upload_model(synthetic.onnx_file(), name="again")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, translated["id"], "ready")
    assert service.agent().claim() is None


def test_a_file_that_could_not_be_translated_is_tried_again_when_it_is_uploaded_again(service, uploaded):
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), code="onnx_unknown_operator", detail="NonZero is unknown here")
    failed = service.get(f"/v1/models/{uploaded['id']}")
    assert (failed["state"], failed["error"]["code"], failed["summary"]) == ("failed", "onnx_unknown_operator", None)
    assert service.upload_model(synthetic.onnx_file()).json()["state"] == "inspecting"
    assert agent.must_claim("inspect")["task"]["format"] == "onnx"


def test_inspected_again_the_document_is_inspected(service, translated):
    service.http.post(f"/v1/models/{translated['id']}/inspect")
    agent = service.agent()
    job = agent.must_claim("inspect")
    assert (job["task"]["format"], job["task"]["model"]) == ("document", translated["blob"])
    agent.complete(job)
    assert service.get(f"/v1/models/{translated['id']}")["source"] == translated["source"]


def test_two_files_of_one_network_are_two_models_of_one_document(service, translated):
    other = service.upload_model(synthetic.onnx_file(salt=1)).json()["id"]
    agent = service.agent()
    job = agent.must_claim("inspect")
    told = {"sha256": translated["blob"]["sha256"], "opset": 18, "producer": "", "max_relative_difference": 0.0}
    assert agent.post(job, "complete", outcome=agent.outcome(job) | {"translation": told}).status_code == 204
    assert service.get(f"/v1/models/{other}")["blob"] == translated["blob"]
    assert service.upload_model(synthetic.onnx_file(salt=1)).json()["id"] == other


def test_an_outcome_without_a_document_is_refused(service, uploaded):
    job = service.agent("inspector").must_claim("inspect")
    assert refusal(service, job, translation=None) == "invalid_request"


def test_a_document_that_was_not_uploaded_is_refused(service, uploaded):
    job = service.agent("inspector").must_claim("inspect")
    told = {"sha256": "0" * 64, "opset": 18, "producer": "", "max_relative_difference": 0.0}
    assert refusal(service, job, translation=told) == "blob_not_found"
    assert service.get(f"/v1/models/{uploaded['id']}")["state"] == "inspecting"


def test_a_document_of_what_needs_none_is_refused(service):
    document = synthetic.model_document()
    service.upload_model(document)
    told = {"sha256": synthetic.sha256(document), "opset": 18, "producer": "", "max_relative_difference": 0.0}
    job = service.agent("inspector").must_claim("inspect")
    assert refusal(service, job, translation=told) == "invalid_request"


def test_bytes_that_are_no_document_fail_the_model_and_nothing_else(service, uploaded):
    content = b"what a hostile file made of its worker"
    service.http.put(f"/v1/blobs/{synthetic.sha256(content)}", content=content)
    agent = service.agent()
    job = agent.must_claim("inspect")
    told = {"sha256": synthetic.sha256(content), "opset": 18, "producer": "", "max_relative_difference": 0.0}
    assert agent.post(job, "complete", outcome=agent.outcome(job) | {"translation": told}).status_code == 204
    failed = service.get(f"/v1/models/{uploaded['id']}")
    assert (failed["state"], failed["error"]["code"][:9], failed["blob"]) == ("failed", "document_", uploaded["blob"])


@pytest.mark.parametrize("producer", ["a\x1b[2J", "x" * 101])
def test_a_producer_that_no_terminal_should_show_is_refused(service, uploaded, producer):
    agent = service.agent("inspector")
    job = agent.must_claim("inspect")
    told = agent.outcome(job)["translation"] | {"producer": producer}
    assert refusal(service, job, translation=told) == "invalid_request"


def test_both_files_count_towards_the_quota(service, uploaded):
    document = synthetic.model_document(salt=int(uploaded["blob"]["sha256"][:6], 16))
    room = uploaded["blob"]["size"] + len(document)
    service.http.patch("/v1/projects/default", json={"max_bytes": room - 1})
    agent = service.agent()
    agent.complete(agent.must_claim("inspect"))
    failed = service.get(f"/v1/models/{uploaded['id']}")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "quota_exceeded")
    service.http.patch("/v1/projects/default", json={"max_bytes": room})
    service.upload_model(synthetic.onnx_file())
    agent.complete(agent.must_claim("inspect"))
    assert service.get(f"/v1/models/{uploaded['id']}")["state"] == "ready"


def test_other_projects_have_neither_of_the_files(service, uploaded, translated):
    headers = bearer(token_for(service, "eve", "elsewhere"))
    mine = bearer(token_for(service, "ann", "default"))
    for sha256 in (uploaded["blob"]["sha256"], translated["blob"]["sha256"]):
        assert service.http.get(f"/v1/blobs/{sha256}", headers=headers).status_code == 404
        assert service.http.get(f"/v1/blobs/{sha256}", headers=mine).status_code == 200


def test_both_files_stay_as_long_as_the_model_and_go_after_it(service, uploaded, translated):
    blobs = {uploaded["blob"]["sha256"], translated["blob"]["sha256"]}
    forget_blobs(service.backend, 0.0)
    assert all(service.http.get(f"/v1/blobs/{sha256}").status_code == 200 for sha256 in blobs)
    assert service.http.delete(f"/v1/models/{translated['id']}").status_code == 204
    with service.backend.reading() as session:
        assert session.get(ModelRow, translated["id"]) is None
    forget_blobs(service.backend, 0.0)
    assert all(service.http.get(f"/v1/blobs/{sha256}").status_code == 404 for sha256 in blobs)
