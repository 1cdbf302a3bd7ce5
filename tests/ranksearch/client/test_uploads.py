import base64
import hashlib

import httpx
import pytest

from ranksearch.contracts.errors import InputError, UploadError
from tests.ranksearch import wire

DATA = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net v1.safetensors"
    path.write_bytes(DATA)
    return path


def created(document):
    return httpx.Response(201, json=document)


def test_a_model_arrives_whole(answers, file):
    client, requests = answers(created(wire.model()))
    client.models.upload(file)
    assert requests[0].content == DATA


def test_the_digest_is_announced(answers, file):
    client, requests = answers(created(wire.model()))
    client.models.upload(file)
    expected = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert requests[0].headers["content-digest"] == f"sha-256=:{expected}:"


def test_the_length_is_announced(answers, file):
    client, requests = answers(created(wire.model()))
    client.models.upload(file)
    assert (requests[0].headers["content-length"], "transfer-encoding" in requests[0].headers) == (
        str(len(DATA)),
        False,
    )


def test_the_name_is_the_files_without_its_ending(answers, file):
    client, requests = answers(created(wire.model()))
    client.models.upload(file)
    assert requests[0].url.params["name"] == "net v1"


def test_another_name_may_be_given(answers, file):
    client, requests = answers(created(wire.dataset()))
    client.datasets.upload(file, "digits")
    assert (requests[0].url.path, requests[0].url.params["name"]) == ("/v1/datasets", "digits")


def test_an_upload_that_is_cut_is_sent_again_from_the_beginning(answers, file):
    client, requests = answers(httpx.WriteError("cut"), created(wire.model()))
    client.models.upload(file)
    assert requests[1].content == DATA


def test_progress_goes_from_nothing_to_all(answers, file):
    client, _ = answers(created(wire.model()))
    seen = []
    client.models.upload(file, progress=lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))


def test_a_missing_file_is_an_upload_error(answers, tmp_path):
    client, _ = answers()
    with pytest.raises(UploadError, match="cannot be read"):
        client.models.upload(tmp_path / "nothing")


def test_a_directory_is_an_upload_error(answers, tmp_path):
    client, _ = answers()
    with pytest.raises(UploadError, match="cannot be read"):
        client.models.upload(tmp_path)


def test_a_blob_is_put_under_its_digest(answers, file):
    client, requests = answers(httpx.Response(201, json={"sha256": wire.sha256(DATA), "size": len(DATA)}))
    assert client.blobs.upload(file) == wire.sha256(DATA)
    assert (requests[0].method, requests[0].url.path) == ("PUT", f"/v1/blobs/{wire.sha256(DATA)}")


def test_waiting_for_an_inspection_ends_when_the_model_is_ready(answers):
    inspecting = httpx.Response(200, json=wire.model(state="inspecting"))
    client, _ = answers(inspecting, inspecting, httpx.Response(200, json=wire.model()))
    assert client.models.wait(wire.MODEL).state == "ready"


def test_a_failed_inspection_is_raised_as_what_it_failed_with(answers):
    error = wire.problem("nothing_to_compress", 422, detail="no layer can be factorised")
    client, _ = answers(httpx.Response(200, json=wire.model(state="failed", error=error)))
    with pytest.raises(InputError, match="no layer can be factorised"):
        client.models.wait(wire.MODEL)


def test_waiting_ends_with_the_reason_why_nothing_moves(serve):
    waiting = wire.model(state="inspecting", waiting_for="no worker is connected")
    client = serve(lambda request: httpx.Response(200, json=waiting))
    with pytest.raises(Exception, match="no worker is connected") as caught:
        client.models.wait(wire.MODEL, timeout=9)
    assert caught.value.code == "wait_timeout"
