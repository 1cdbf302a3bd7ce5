import httpx
import pytest

from ranksearch.contracts.errors import NotFoundError, RankSearchError
from tests.ranksearch import wire

DATA = bytes(range(256)) * 40


def listed(*artifacts):
    return httpx.Response(200, json=wire.page(*artifacts))


def told(data=DATA, state="ready", **members):
    return httpx.Response(200, json=wire.artifact(data, state, **members))


def whole():
    return httpx.Response(200, content=DATA, headers={"etag": f'"{wire.sha256(DATA)}"'})


def test_what_is_there_is_not_asked_for(answers, tmp_path):
    client, requests = answers(listed(wire.artifact(DATA)), told(), whole())
    assert client.study(wire.STUDY).pull(tmp_path / "out").read_bytes() == DATA
    assert {request.method for request in requests} == {"GET"}
    assert requests[-1].url.path == f"/v1/studies/{wire.STUDY}/artifacts/job_art/content"


def test_pull_into_a_directory_keeps_the_name(answers, tmp_path):
    client, _ = answers(listed(wire.artifact(DATA)), told(), whole())
    assert client.study(wire.STUDY).pull(tmp_path) == tmp_path / "compressed.safetensors"


def test_it_waits_while_the_file_is_being_made(answers, tmp_path):
    pending = wire.artifact(state="pending")
    client, _ = answers(listed(pending), httpx.Response(200, json=pending), told(), whole())
    assert client.study(wire.STUDY).pull(tmp_path / "out").read_bytes() == DATA


def test_the_best_of_a_study_that_searches_is_asked_for(answers):
    of_another = wire.artifact(DATA, name="trial-3.safetensors")
    client, requests = answers(listed(of_another), told(state="pending", id="job_new", trial=5))
    handle = client.study(wire.STUDY).artifact()
    assert (handle.id, handle.trial) == ("job_new", 5)
    assert requests[1].method == "POST"
    assert requests[1].headers["idempotency-key"]


def test_another_format_of_the_same_trial_is_another_file(answers):
    client, requests = answers(listed(wire.artifact(DATA)), told(state="pending", id="job_new", format="onnx"))
    assert client.study(wire.STUDY).artifact(3, "onnx").format == "onnx"
    assert requests[1].method == "POST"


def test_what_could_not_be_made_says_why_and_how_to_have_it_made_again(answers, tmp_path):
    failed = wire.artifact(state="failed", error=wire.problem("evaluation_crashed", 500, detail="it crashed"))
    client, _ = answers(listed(failed), httpx.Response(200, json=failed))
    with pytest.raises(RankSearchError, match="it crashed") as caught:
        client.study(wire.STUDY).pull(tmp_path / "out")
    assert "ranksearch retry" in caught.value.mend


def test_a_study_without_a_best_is_refused_as_the_service_says(answers, tmp_path):
    refusal = wire.problem("best_not_found", 404, detail="no trial of this study has completed")
    client, _ = answers(
        listed(), httpx.Response(404, json=refusal, headers={"content-type": "application/problem+json"})
    )
    with pytest.raises(NotFoundError, match="no trial of this study has completed"):
        client.study(wire.STUDY).pull(tmp_path / "out")
