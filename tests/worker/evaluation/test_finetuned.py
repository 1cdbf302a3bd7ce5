"""A trial's network trained, with what is told on the way."""

import copy

import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.finetuning import RecipeRequest
from ranksearch.contracts.resources import Blob
from worker.evaluation.checkpoints import read_checkpoint, write_checkpoint
from worker.evaluation.compressed import write_compressed
from worker.evaluation.finetuned import fine_tune
from worker.evaluation.training_images import TrainingImages


@pytest.fixture
def document(session, work, tmp_path):
    made = tmp_path / "compressed"
    made.mkdir()
    return made / write_compressed(session, work.compress(), work.files, made).sha256


@pytest.fixture
def trained(session, work, document, tmp_path):
    """Run a training; its outcome, what was told, and the folder with its files."""

    def run(**changes):
        told, output = [], tmp_path / f"output-{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        outcome = fine_tune(session, work.finetune(document, **changes), work.files, output, told.append)
        return outcome, told, output

    return run


def accuracy(network, batches):
    with torch.no_grad():
        hits = [(network(images).argmax(1) == labels).float() for images, labels in batches]
    return float(torch.cat(hits).double().mean())


def test_it_tells_what_was_before_then_every_step_and_writes_what_it_measured(trained, work, document):
    outcome, told, output = trained()
    assert told[0].before == outcome.before
    steps = [point.step for advance in told for point in advance.points]
    assert steps == list(range(1, 13))  # 20 images, 5 epochs, 8 a step: 12.5
    batches = work.batches(20, 60)
    for path, score in ((output / outcome.sha256, outcome.after), (document, outcome.before)):
        assert score.accuracy == pytest.approx(accuracy(ranksearch.load(path), batches))
    assert outcome.dense.accuracy == pytest.approx(accuracy(work.net, batches))
    assert outcome.parity.agrees


def test_the_result_is_what_the_numerics_make_of_the_same_images(trained, work, document):
    outcome, _, output = trained()
    network, (images, labels) = ranksearch.load(document).to(work.device), work.batches(0, 20, size=20)[0]
    recipe = proxy.Recipe(**work.finetune(document).recipe.model_dump())
    tuning = proxy.FineTuning(network, images, labels, reference=copy.deepcopy(work.net).to(work.device), recipe=recipe)
    list(tuning.run())
    ours, wanted = ranksearch.load(output / outcome.sha256), tuning.result().cpu()
    with torch.no_grad():
        torch.testing.assert_close(ours(images), wanted(images), rtol=1e-4, atol=1e-5)


def test_taken_up_at_a_checkpoint_it_ends_with_the_same_network(trained, work):
    outcome, told, output = trained()
    kept = [advance for advance in told if advance.checkpoint is not None]
    assert [advance.checkpoint_step for advance in kept] == [int(one.checkpoint.split("-")[1]) for one in kept]
    at = kept[len(kept) // 2]
    path = output / at.checkpoint
    blob = Blob(sha256="c" * 64, size=path.stat().st_size)
    work.files[blob.sha256] = path
    again, told_again, output_again = trained(checkpoint=blob)
    assert [advance.resumed_at for advance in told_again if advance.resumed_at is not None] == [at.checkpoint_step]
    assert min(point.step for advance in told_again for point in advance.points) == at.checkpoint_step + 1
    first, second = (
        ranksearch.load(one).state_dict() for one in (output / outcome.sha256, output_again / again.sha256)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("content", ["garbage", "of another network"])
def test_a_checkpoint_that_cannot_be_used_costs_time_and_nothing_else(trained, work, tmp_path, content):
    path = tmp_path / "checkpoint"
    if content == "garbage":
        path.write_bytes(b"no checkpoint at all")
    else:
        write_checkpoint(proxy.TuningState(3, {"weights.x": torch.zeros(2), "average.x": torch.zeros(2)}), path)
    work.files["d" * 64] = path
    outcome, told, _ = trained(checkpoint=Blob(sha256="d" * 64, size=1))
    assert all(advance.resumed_at is None for advance in told)
    assert outcome.after == trained()[0].after


def test_a_loss_that_is_no_number_is_told_with_what_to_do(trained, document):
    recipe = RecipeRequest(epochs=40, learning_rate=10, weight_decay=1, gradient_norm=None, augmentation="none")
    with pytest.raises((proxy.ProxyError, EvaluationError)) as caught:  # on the way, or at its end
        trained(recipe=recipe.completed(20, labelled=True))
    assert caught.value.code.endswith("not_finite")
    assert "learning_rate" in caught.value.mend


def test_memory_that_runs_out_is_told_with_the_batch_that_it_was_for(trained, monkeypatch):
    def exhausted(self, **_):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(proxy.FineTuning, "run", exhausted)
    with pytest.raises(EvaluationError) as caught:
        trained()
    assert caught.value.code == "evaluation_out_of_memory"
    assert "8 images" in caught.value.expected


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    state = proxy.TuningState(
        7, {"weights.a": torch.randn(3), "momentum.a": torch.randn(3), "average.b": torch.arange(4)}
    )
    write_checkpoint(state, tmp_path / "c")
    read = read_checkpoint(tmp_path / "c")
    assert read.steps == 7
    assert read.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in state.tensors.items())


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_prepared_images_are_those_of_the_data_set(tmp_path, work, layout, dtype):
    images = work.images if layout == "NHWC" else work.images.permute(0, 3, 1, 2)
    given = images.to(dtype) if dtype is torch.uint8 else images.float() / 255
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.4, 0.6)
    ranksearch.pack_data(given.contiguous(), work.labels, tmp_path / "other", mean=mean, std=std, layout=layout)
    made = TrainingImages(tmp_path / "other", work.selection(5, 25), torch.device("cpu"), torch.float32)
    wanted = ranksearch.load_data(tmp_path / "other").images(5, 25)
    torch.testing.assert_close(made.prepare(made.stored), wanted)
    assert torch.equal(made.labels, work.labels[5:25])
