"""Networks of trials as files, made by a real, confined worker, and run where they are meant to run."""

import hashlib
import json
import os
import signal

import numpy as np
import onnxruntime
import psutil
import pytest
import torch
from typer.testing import CliRunner

import proxy
import ranksearch
from ranksearch.cli import app
from tests.clean_process import run_with_only
from tests.system.watching import wait_for


@pytest.fixture(scope="module")
def study(deployment, documents):
    with deployment.client() as client:
        handle = client.submit(
            documents / "model.safetensors", documents / "data.safetensors", budget="40%", n_trials=4, pruner="none"
        )
        handle.wait(timeout=240)
        yield handle


@pytest.fixture(scope="module")
def other(study):
    """A complete trial that is not the best."""
    best = study.best().trial
    with_result = (trial for trial in study._studies.trials(study.id) if trial.state == "COMPLETE")
    return next(trial for trial in with_result if trial.number != best)


@pytest.fixture(scope="module")
def pulled(study, other, tmp_path_factory):
    """(trial or None, format) → the artifact and its file; all asked for at once."""
    folder = tmp_path_factory.mktemp("pulled")
    asked = {
        (trial, made): study.artifact(trial, made)
        for trial in (None, other.number)
        for made in ("onnx", "pt2", "document")
    }
    return {
        key: (handle.wait(timeout=240), handle.download(folder / f"{handle.id}.{handle.format}"))
        for key, handle in asked.items()
    }


@pytest.fixture(scope="module")
def images(study, documents):
    start = study.status().request.validation.start
    return ranksearch.load_data(documents / "data.safetensors").images(start, start + 256)


def scores_of(path, images):
    with torch.no_grad():
        return ranksearch.load(path)(images)


def test_each_file_is_the_one_announced(pulled):
    for artifact, path in pulled.values():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.blob.sha256
        assert artifact.parity.agrees
        assert (artifact.parity.images, artifact.parity.dtype) == (256, "float32")


@pytest.mark.parametrize("of_best", [True, False])
def test_a_file_costs_what_its_trial_measured(study, other, pulled, of_best):
    result = study.best().result if of_best else other.result
    artifact, path = pulled[None if of_best else other.number, "document"]
    example = ranksearch.load(path).example_inputs(1)
    cost = proxy.cost(ranksearch.load(path), example)
    assert (artifact.macs.compressed, artifact.params.compressed) == (cost.macs, cost.params)
    assert (cost.macs, cost.params) == (result.cost.macs, result.cost.params)


@pytest.mark.parametrize("of_best", [True, False])
def test_onnx_runtime_gives_the_documents_scores_and_the_report_says_so(pulled, other, images, of_best):
    trial = None if of_best else other.number
    artifact, path = pulled[trial, "onnx"]
    wanted = scores_of(pulled[trial, "document"][1], images).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(got - wanted).max() <= 1e-4 * np.ptp(wanted)
    assert artifact.parity.max_difference <= 1e-4 * np.ptp(wanted)
    assert (got.argmax(1) == wanted.argmax(1)).mean() == pytest.approx(artifact.parity.same_top1, abs=1 / 256)


def test_programs_run_where_there_is_nothing_but_torch(pulled, other, images, tmp_path):
    paths = [pulled[trial, "pt2"][1] for trial in (None, other.number)]
    wanted = [scores_of(pulled[trial, "document"][1], images[:5]) for trial in (None, other.number)]
    torch.save({"given": images[:5], "wanted": wanted}, tmp_path / "tensors")
    code = """
import torch
known = torch.load(sys.argv[1])
for path, wanted in zip(sys.argv[2:], known["wanted"], strict=True):
    print(float((torch.export.load(path).module()(known["given"]) - wanted).abs().max()))
"""
    assert max(map(float, run_with_only({"torch"}, code, tmp_path / "tensors", *paths).split())) < 1e-4


def test_what_the_command_line_prints_as_best_compresses_the_users_own_module(deployment, study, documents, digits):
    environment = {"RANKSEARCH_URL": deployment.url, "RANKSEARCH_TOKEN": deployment.token}
    done = CliRunner().invoke(app, ["best", study.id, "--json"], env=environment)
    told = json.loads(done.stdout)
    small = proxy.compress(ranksearch.load(documents / "model.safetensors"), told["ranks"])
    assert proxy.cost(small, (digits.normalised(digits.training[0][:1]),)).macs == told["macs"]["compressed"]


@pytest.mark.soak
def test_a_worker_killed_during_an_export_costs_no_file_and_makes_none_twice(local, submit, tmp_path):
    with local.client() as client:
        worker = local.start_worker()
        study = submit(client, n_trials=1)
        study.wait(timeout=240)
        study.pull(tmp_path / "document", timeout=240)
        asked = study.artifact(format="pt2")
        wait_for(lambda: [one for one in client.workers.list() if one.task == "pt2"])
        children = psutil.Process(worker.pid).children(recursive=True)
        os.kill(worker.pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=60)
        assert asked.status().state == "pending"
        local.start_worker()
        asked.download(tmp_path / "program", timeout=240)
        made = [(one.format, one.state) for one in client.artifacts.list(study.id)]
        assert made == [("document", "ready"), ("pt2", "ready")]
        assert torch.export.load(tmp_path / "program").module() is not None
