"""A device that holds so many images at once and no more: results are the same, or it is said plainly."""

import pytest
import torch

import proxy
from ranksearch.contracts.jobs import Race
from worker.evaluation import evaluate
from worker.evaluation.pieces import in_pieces
from worker.protocol import Assignment

FORWARD = torch.nn.BatchNorm2d.forward


@pytest.fixture
def room(monkeypatch):
    """How many images a BatchNorm has memory for; whoever brings more is out of memory. None: any number."""
    size = {"images": None, "most": 0, "refused": []}

    def forward(self, x):
        if torch.compiler.is_exporting():  # of a compressed network on its way out, with a batch of any size
            return FORWARD(self, x)
        if size["images"] is not None and len(x) > size["images"]:
            size["refused"].append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 TiB")
        size["most"] = max(size["most"], len(x))
        return FORWARD(self, x)

    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", forward)
    return size


@pytest.fixture
def report(session, work, tmp_path):
    def run(task):
        return evaluate(session, Assignment(number=7, task=task, files=work.files, output=tmp_path))

    return run


def close(small, whole):
    assert small.keys() == whole.keys()
    for name, value in whole.items():
        assert small[name] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float | list) else value)


def measured(answer):
    assert answer.problem is None, answer.problem
    return answer.outcome.result.model_dump(exclude={"seconds", "latency"})


@pytest.mark.parametrize("metric", ["accuracy", "kl", "loss", "features"])
@pytest.mark.parametrize("kind", ["trial", "baseline"])
def test_half_the_batch_gives_the_same_result(report, work, session, room, kind, metric):
    task = getattr(work, kind)(metric=metric)
    whole = measured(report(task))
    session.forget()
    room["images"] = 8
    close(measured(report(task)), whole)
    assert max(room["refused"]) > 8


@pytest.mark.parametrize("images", [1, 3, 8])
def test_down_to_single_images(report, work, session, room, images):
    whole = measured(report(work.trial(metric="kl")))
    session.forget()
    room["images"] = images
    close(measured(report(work.trial(metric="kl"))), whole)


def test_the_race_sees_the_batches_of_the_task(report, work, session, room):
    whole = report(work.trial(metric="kl", batch_size=4)).outcome
    session.forget()
    room["images"] = 1
    cut = report(work.trial(metric="kl", batch_size=4)).outcome
    assert len(cut.result.batch_values) == len(whole.result.batch_values) == 10
    hopeless = Race(batch_values=[value / 100 for value in whole.result.batch_values], p_value=0.5)
    pruned = report(work.trial(metric="kl", batch_size=4, race=hopeless)).outcome
    assert pruned.pruned
    assert pruned.result.images == 20  # five batches of the task's size: the first look


def test_a_sensitivity_table_is_the_same(report, work, session, room):
    whole = report(work.sensitivity()).outcome.change
    session.forget()
    room["images"] = 3
    answer = report(work.sensitivity())
    assert answer.problem is None
    for name, values in whole.items():
        assert answer.outcome.change[name] == pytest.approx(values, rel=1e-3, abs=1e-6)


def test_a_compressed_network_is_made_all_the_same(report, work, room):
    room["images"] = 4
    assert report(work.compress()).outcome.kind == "compress"


def test_what_was_enough_is_kept_for_the_next_trial(report, work, room):
    room["images"] = 4
    report(work.trial())
    refused = len(room["refused"])
    assert report(work.trial(metric="kl")).problem is None
    assert len(room["refused"]) == refused


def test_it_is_noted_in_the_log(report, work, room, caplog):
    room["images"] = 8
    report(work.trial())
    assert "goes on with 8 images at once" in caplog.text


def test_where_one_image_is_too_many_it_is_labelled_and_worth_a_larger_device(report, work, session, room):
    room["images"] = 0
    answer = report(work.trial())
    assert (answer.problem.code, answer.retry) == ("evaluation_out_of_memory", True)
    assert answer.problem.extra["device"] == session.device_name
    assert answer.problem.extra["memory_bytes"] > 0
    assert "single images" in answer.problem.detail
    assert "GiB" in answer.problem.expected


def test_after_it_the_child_has_an_empty_memory_and_goes_on(report, work, session, room):
    room["images"] = 0
    report(work.trial())
    assert session.holds == []
    room["images"] = None
    assert report(work.trial()).problem is None
    assert room["most"] == 20  # all calibration images at once again


def test_statistics_that_cannot_be_cut_are_labelled_where_there_is_no_other_memory(report, work, room):
    room["images"] = 8
    assert report(work.trial(level="statistics")).problem.code == "evaluation_out_of_memory"


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
    ],
)
def test_other_words_for_the_same(report, work, monkeypatch, message):
    calls = []

    def refusing(*_):
        calls.append(1)
        raise RuntimeError(message)

    monkeypatch.setattr("worker.evaluation.measure_trial", refusing)
    assert report(work.trial(batch_size=4)).problem.code == "evaluation_out_of_memory"
    assert len(calls) == 3  # 4, 2 and 1 images at once


def test_a_task_without_batches_is_tried_once_more_with_an_empty_device(report, work, monkeypatch):
    calls = []

    def refusing(*_):
        calls.append(1)
        raise torch.OutOfMemoryError

    monkeypatch.setattr("worker.evaluation.inspect", refusing)
    assert report(work.inspect()).problem.code == "evaluation_out_of_memory"
    assert len(calls) == 2


def test_a_network_in_pieces_answers_the_same_and_is_left_as_it_was(work):
    images = torch.cat([batch for batch, _ in work.batches(0, 20)])
    with torch.no_grad():
        whole = work.net(images)
        with in_pieces(work.net, 7):
            torch.testing.assert_close(work.net(images), whole)
    assert "forward" not in vars(work.net)


@pytest.mark.parametrize("level", ["reconstruction", "statistics"])
def test_calibration_with_little_memory_is_the_same(work, level):
    ranks = {name: {"method": choice.method, "rank": choice.rank} for name, choice in work.ranks.items()}
    images = torch.cat([batch for batch, _ in work.batches(0, 20)])
    pieces = [images] if level == "statistics" else list(images.split(3))
    whole, small = (proxy.compress(work.net, ranks) for _ in range(2))
    proxy.calibrate(whole, [images], reference=work.net, level=level)
    proxy.calibrate(small, pieces, reference=work.net, level=level, memory=0)
    with torch.no_grad():
        torch.testing.assert_close(small(images), whole(images), rtol=1e-4, atol=1e-5)
