"""Trials fine-tuned by a real, confined worker: better or not taken, and taken up again where a worker died."""

import json
import os
import signal

import numpy as np
import onnxruntime
import psutil
import pytest
import torch
from typer.testing import CliRunner

import ranksearch
from ranksearch.cli import app
from ranksearch.contracts.finetuning import CURVE_POINTS
from ranksearch.local import LocalDeployment
from tests.clean_process import run_with_only
from tests.system.conftest import written
from tests.system.watching import wait_for

RECIPE = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01, "augmentation": "none"}


@pytest.fixture(scope="module")
def documents(tmp_path_factory, digits):
    """As the others' documents, of a network that has learnt something."""
    return written(tmp_path_factory.mktemp("trained"), digits, epochs=12)


@pytest.fixture(scope="module")
def study(deployment, documents):
    """A hard budget, so that there is something to gain, and the best two fine-tuned at its end."""
    with deployment.client() as client:
        handle = client.submit(
            documents / "model.safetensors",
            documents / "data.safetensors",
            budget="15%",  # where calibration alone leaves points to gain, on any machine
            n_trials=4,
            pruner="none",
            finetune={"top": 2, "recipe": RECIPE},
        )
        handle.wait(timeout=240)
        yield handle


@pytest.fixture(scope="module")
def tuned(study):
    return study.finetuned(timeout=240)


@pytest.fixture(scope="module")
def validation(study, documents):
    """The images and labels that the study validates on."""
    data, part = ranksearch.load_data(documents / "data.safetensors"), study.status().request.validation
    return data.images(part.start, part.stop), data.labels[part.start : part.stop]


def accuracy_of(scores, labels):
    return float((torch.as_tensor(scores).argmax(1) == labels).double().mean())


def test_the_best_two_are_trained_and_get_better(tuned):
    assert [one.state for one in tuned] == ["ready", "ready"]
    for one in tuned:
        assert one.after.accuracy > one.before.accuracy
        assert one.improved
        assert one.recipe.epochs == RECIPE["epochs"]


def test_it_trains_on_the_calibrations_images_and_on_none_that_validate(study, tuned):
    calibration = study.status().request.calibration
    assert {(one.training.start, one.training.stop) for one in tuned} == {(0, calibration.stop)}


def test_the_loss_curve_tells_every_step_of_the_way_and_falls(tuned):
    for one in tuned:
        steps = [point.step for point in one.curve]
        assert steps == sorted(set(steps))
        assert steps[-1] == one.steps == one.step
        assert len(steps) <= 2 * CURVE_POINTS
        assert np.mean([point.loss for point in one.curve[-5:]]) < np.mean([point.loss for point in one.curve[:5]])


def test_the_more_accurate_of_them_is_the_studys_best(study, tuned):
    best = max(tuned, key=lambda one: one.after.accuracy)
    chosen = [one.trial for one in tuned if one.chosen]
    found = study.status()
    assert chosen == [found.best_trial] == [found.tuning.chosen]
    assert best.after.accuracy == next(one for one in tuned if one.chosen).after.accuracy
    assert (found.tuning.asked, found.tuning.ready, found.tuning.improved) == (2, 2, 2)
    assert study.best().finetune.id == next(one.id for one in tuned if one.chosen)


def test_what_is_pulled_is_the_fine_tuned_network_in_a_process_with_torch_and_safetensors_alone(
    study, tuned, validation, tmp_path
):
    images, labels = validation
    study.pull(tmp_path / "best", timeout=120)
    torch.save(images, tmp_path / "images")
    code = """
import torch, ranksearch
images = torch.load(sys.argv[2])
with torch.no_grad():
    torch.save(ranksearch.load(sys.argv[1])(images), sys.argv[3])
"""
    run_with_only(
        {"torch", "safetensors", "ranksearch"}, code, *(tmp_path / name for name in ("best", "images", "out"))
    )
    scores = torch.load(tmp_path / "out")
    (chosen,) = (one for one in tuned if one.chosen)
    assert accuracy_of(scores, labels) == pytest.approx(chosen.after.accuracy, abs=1 / len(labels))


def test_onnx_runtime_gives_the_fine_tuned_networks_accuracy(study, tuned, validation, tmp_path):
    images, labels = validation
    study.pull(tmp_path / "best.onnx", format="onnx", timeout=120)
    session = onnxruntime.InferenceSession(str(tmp_path / "best.onnx"), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    (chosen,) = (one for one in tuned if one.chosen)
    assert accuracy_of(scores, labels) == pytest.approx(chosen.after.accuracy, abs=1 / len(labels))


def test_the_network_before_the_training_is_there_as_well(study, tuned, validation, tmp_path):
    images, labels = validation
    (chosen,) = (one for one in tuned if one.chosen)
    study.pull(tmp_path / "before", trial=chosen.trial, timeout=120)
    with torch.no_grad():
        scores = ranksearch.load(tmp_path / "before")(images)
    assert accuracy_of(scores, labels) == pytest.approx(chosen.before.accuracy, abs=1 / len(labels))


def test_the_command_line_shows_them_and_asks_for_no_more_where_it_is_the_same(deployment, study, tuned):
    environment = {"RANKSEARCH_URL": deployment.url, "RANKSEARCH_TOKEN": deployment.token}
    done = CliRunner().invoke(app, ["finetune", study.id, "--show"], env=environment)
    assert done.exit_code == 0, done.output
    for one in tuned:
        assert f"{one.steps}/{one.steps}" in done.stdout
    assert "the best" in done.stdout
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in RECIPE.items()]
    done = CliRunner().invoke(app, ["finetune", study.id, "--top", "2", *flags, "--json"], env=environment)
    assert done.exit_code == 0, done.output
    assert {one["id"] for one in json.loads(done.stdout)} == {one.id for one in tuned}


@pytest.mark.soak
def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path, documents):
    options = ("--lease-seconds", "4", "--checkpoint-seconds", "0")
    with LocalDeployment(tmp_path / "data", workers=1, service_options=options) as local, local.client() as client:
        study = client.submit(
            documents / "model.safetensors", documents / "data.safetensors", budget="25%", n_trials=1, pruner="none"
        )
        study.wait(timeout=240)
        (asked,) = study.finetune(top=1, recipe={**RECIPE, "epochs": 60})

        def has_checkpoint():
            found = client.finetunes.get(study.id, asked.id)
            return found if found.checkpoint_step and found.step < 0.8 * found.steps else None

        at = wait_for(has_checkpoint)
        (pid,) = [process.pid for process in local.workers]
        children = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=60)
        local.start_worker()
        (done,) = study.finetuned(timeout=240)
        assert (done.state, done.resumed) == ("ready", 1)
        steps = [point.step for point in done.curve]
        assert steps == sorted(set(steps))
        assert steps[-1] == done.steps
        assert at.checkpoint_step is not None
        study.pull(tmp_path / "tuned", trial=done.trial, tuned=True, timeout=60)
        assert ranksearch.load(tmp_path / "tuned") is not None
