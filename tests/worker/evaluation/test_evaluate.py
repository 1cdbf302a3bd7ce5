"""Whatever goes wrong in an evaluation is reported with a code, and the child lives on."""

import pytest
import torch

from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation import evaluate
from worker.protocol import Assignment


@pytest.fixture
def report(session, work, tmp_path):
    def run(task):
        return evaluate(session, Assignment(number=7, task=task, files=work.files, output=tmp_path))

    return run


@pytest.mark.parametrize("kind", ["inspect", "baseline", "sensitivity", "trial", "compress"])
def test_every_kind_of_task_has_an_outcome_of_its_kind(report, work, kind):
    answer = report(getattr(work, kind)())
    assert (answer.number, answer.problem, answer.outcome.kind) == (7, None, kind)


def test_an_unknown_layer_is_a_problem_with_its_code(report, work):
    answer = report(work.trial(ranks={"third": LayerRanks(method="cp3", rank=1)}))
    assert (answer.problem.code, answer.retry) == ("unknown_layer", False)


def test_a_rank_out_of_range_is_a_problem_with_its_code(report, work):
    answer = report(work.trial(ranks={"second": LayerRanks(method="cp3", rank=9999)}))
    assert answer.problem.code == "rank_out_of_range"
    assert answer.problem.expected == "1 to 108"


def test_running_out_of_memory_is_worth_another_attempt(report, work, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("worker.evaluation.measure_trial", out_of_memory)
    answer = report(work.trial())
    assert (answer.problem.code, answer.retry) == ("evaluation_out_of_memory", True)


def test_a_broken_document_is_a_problem_of_the_document(report, work):
    path = work.files[work.model.sha256]
    path.write_bytes(path.read_bytes()[:-100])
    assert report(work.inspect()).problem.code == "document_truncated"


def test_any_other_exception_is_told_by_its_type(report, work, monkeypatch):
    monkeypatch.setattr("worker.evaluation.measure_trial", lambda *_: 1 / 0)
    answer = report(work.trial())
    assert answer.problem.code == "evaluation_failed"
    assert "ZeroDivisionError" in answer.problem.detail


def test_after_a_failure_the_next_task_succeeds(report, work):
    report(work.trial(ranks={"third": LayerRanks(method="cp3", rank=1)}))
    assert report(work.trial()).problem is None
