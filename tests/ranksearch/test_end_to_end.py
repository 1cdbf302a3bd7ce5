"""Client and command line against a real service. The worker's part is played by the test: no torch is needed."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from ranksearch.cli import app
from ranksearch.contracts.errors import BudgetInfeasible, ConflictError, DocumentError, NotFoundError, UploadError
from ranksearch.contracts.jobs import ClaimRequest, InspectOutcome
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.local import LocalDeployment
from service.version import VERSION
from tests.ranksearch import wire

CLAIM = ClaimRequest(worker="w", name="test", device="cpu", version=VERSION, wait_seconds=5)
PROFILE = ModelProfile.model_validate(
    {
        "dense": {"macs": 10_000, "params": 1_000},
        "sites": [
            {
                "name": "conv",
                "kind": "conv2d",
                "weight_shape": [16, 16, 3, 3],
                "macs": 10_000,
                "params": 1_000,
                "grids": {
                    "cp3": [
                        {"ranks": {"method": "cp3", "rank": r}, "macs": 900 * r, "params": 90 * r, "relative_error": e}
                        for r, e in ((1, 0.9), (4, 0.4), (8, 0.1))
                    ]
                },
            }
        ],
        "input_shapes": [[1, 8, 8]],
        "output_shapes": [[10]],
        "solver": "none",
        "seconds": 0,
    }
)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("local") / "data", workers=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(local):
    with local.client() as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    specs = {
        "inputs": json.dumps([{"shape": [1, 8, 8], "dtype": "float32"}]),
        "outputs": json.dumps([{"shape": [10], "dtype": "float32"}]),
        "buffers": "[]",
    }
    named = {"format": "ranksearch.model/1", "kind": "registry", "architecture": "torchvision:resnet18", **specs}
    save_file({"w": np.ones((16, 16), np.float32)}, folder / "m.safetensors", metadata=named)
    images = {"images": np.zeros((20, 8, 8, 1), np.uint8), "labels": np.arange(20) % 10}
    data = {"format": "ranksearch.dataset/1", "layout": "NHWC", "mean": "[0.5]", "std": "[0.5]"}
    save_file(images, folder / "d.safetensors", metadata=data)
    return folder


@pytest.fixture(scope="module")
def model(client, files):
    """Inspected: the test claims the job and answers it."""
    uploaded = client.models.upload(files / "m.safetensors", "tiny")
    job = client.jobs.claim(CLAIM)
    client.jobs.complete(job.id, job.lease.token, InspectOutcome(profile=PROFILE))
    return client.models.wait(uploaded.id, timeout=10)


@pytest.fixture
def study(client, model, files):
    handle = client.submit(model, files / "d.safetensors", budget="50%", n_trials=3, name="one")
    yield handle
    if handle.status().state in {"queued", "running"}:
        handle.cancel()


@pytest.fixture
def ranksearch(local, monkeypatch):
    monkeypatch.setenv("RANKSEARCH_HOME", str(local.data_dir))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_an_uploaded_model_is_listed(client, model):
    assert [(found.id, found.state) for found in client.models.list()] == [(model.id, "ready")]


def test_the_same_file_again_is_the_same_model(client, model, files):
    assert client.models.upload(files / "m.safetensors").id == model.id


def test_a_blob_comes_back_as_it_went(client, tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 999)
    sha256 = client.blobs.upload(tmp_path / "a")
    assert client.blobs.download(sha256, tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_blob_that_is_not_there(client, tmp_path):
    with pytest.raises(NotFoundError) as caught:
        client.blobs.download(wire.sha256(b"nothing"), tmp_path / "b")
    assert caught.value.code == "blob_not_found"


def test_what_is_no_model_document_is_refused(client, tmp_path):
    (tmp_path / "x").write_bytes(b"no safetensors at all")
    with pytest.raises(DocumentError):
        client.models.upload(tmp_path / "x")


def test_a_file_that_changes_on_its_way_is_refused(client, files, tmp_path):
    path = tmp_path / "m"
    path.write_bytes((files / "m.safetensors").read_bytes())

    def spoil(done, total):
        if done == 0:
            path.write_bytes(bytes(total))

    with pytest.raises(UploadError) as caught:
        client.models.upload(path, progress=spoil)
    assert caught.value.code == "upload_digest_mismatch"


def test_a_study_is_listed(client, study):
    assert next(client.studies.list()).id == study.id


def test_the_same_key_gives_the_same_study(client, study):
    request = study.status().request
    first = client.studies.create(request, idempotency_key="once")
    again = client.studies.create(request, idempotency_key="once")
    client.studies.cancel(first.id)
    assert first.id == again.id


def test_there_is_no_best_before_the_first_trial(study):
    with pytest.raises(NotFoundError) as caught:
        study.best()
    assert caught.value.code == "best_not_found"


def test_events_end_with_the_study(client, study):
    study.cancel()
    states = [event.data["state"] for event in client.studies.events(study.id) if event.kind == "study"]
    assert states[-1] == "cancelled"


def test_a_study_that_ended_is_not_cancelled_again_into_something_else(study):
    study.cancel()
    try:
        again = study.cancel().state
    except ConflictError as error:
        again = error.code
    assert again in {"cancelled", "study_finished"}


def test_an_infeasible_budget_names_the_nearest(client, model, files):
    with pytest.raises(BudgetInfeasible) as caught:
        client.submit(model, files / "d.safetensors", budget="1%")
    nearest = caught.value.extra["nearest_feasible"]["macs"]
    handle = client.submit(model, files / "d.safetensors", budget=nearest)
    assert handle.cancel().limits["macs"] == nearest


def test_the_command_line_lists_models(ranksearch, model):
    assert json.loads(ranksearch("models", "--json").stdout)[0]["id"] == model.id


def test_the_command_line_has_a_model_inspected_again(client, ranksearch, model):
    again = ranksearch("models", "inspect", model.id, "--json")
    assert json.loads(again.stdout)["state"] == "inspecting"
    job = client.jobs.claim(CLAIM)
    client.jobs.complete(job.id, job.lease.token, InspectOutcome(profile=PROFILE))
    assert client.models.wait(model.id, timeout=10).profile == model.profile


def test_the_command_line_submits_and_cancels(ranksearch, model, files):
    submitted = ranksearch("submit", model.id, files / "d.safetensors", "--macs", "50%", "--name", "cli", "--json")
    cancelled = ranksearch("cancel", "cli", "--json")
    assert json.loads(cancelled.stdout)["id"] == json.loads(submitted.stdout)["id"]


def test_the_command_line_follows_events(ranksearch, study):
    study.cancel()
    lines = ranksearch("watch", study.id, "--json").stdout.splitlines()
    assert json.loads(lines[-1])["data"]["state"] == "cancelled"


def test_the_command_line_names_the_nearest_budget(ranksearch, model, files):
    done = ranksearch("submit", model.id, files / "d.safetensors", "--macs", "1%")
    assert (done.exit_code, "--macs 900" in done.stderr) == (5, True)


def test_the_command_line_submits_the_smallest_within_a_drop(ranksearch, model, files):
    submitted = ranksearch("submit", model.id, files / "d.safetensors", "--max-drop", "0.01", "--name", "small")
    cancelled = ranksearch("cancel", "small")
    assert (submitted.exit_code, cancelled.exit_code) == (0, 0), submitted.stderr
    assert "least macs with at most 1 point of accuracy lost" in submitted.stdout


def test_a_front_without_trials_is_empty(client, ranksearch, model, files):
    handle = client.submit(model, files / "d.safetensors", objectives=["proxy", "macs"], name="front")
    shown = json.loads(ranksearch("pareto", "front", "--json").stdout)
    handle.cancel()
    assert (shown["objectives"], shown["points"]) == (["proxy", "macs"], [])


def test_every_option_of_the_search_is_taken(client, ranksearch, study, model, files):
    words = (
        "--macs 50% --metric kl --level statistics --sampler tpe --pruner none --warm-starts equal_error"
        " --search-images 4,all --finalists 2 --timeout 60 --plateau 5 --target 0.01"
    )
    earlier = ["--from-study", study.id]
    done = ranksearch("submit", model.id, files / "d.safetensors", *words.split(), *earlier, "--name", "all", "--json")
    asked = client.studies.cancel(json.loads(done.stdout)["id"]).request
    assert (asked.sampler, asked.search_images.validation, asked.from_studies, asked.timeout) == (
        "tpe",
        None,
        [study.id],
        60,
    )
