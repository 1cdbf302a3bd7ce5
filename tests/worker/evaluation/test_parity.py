"""The report against figures worked out by hand."""

import pytest
import torch

from proxy.inputs import inputs_of
from ranksearch.contracts.artifacts import ParityReport
from ranksearch.contracts.errors import EvaluationError
from worker.evaluation.parity import compared, outputs_of

BATCHES = [torch.zeros(2, 1), torch.zeros(1, 1)]


def scripted(*outputs):
    """Outputs batch by batch, whatever the images."""
    left = iter(outputs)
    return lambda _images: next(left)


def report(wanted, got, batches=BATCHES):
    try:
        return compared(scripted(*wanted), scripted(*got), batches, against="document", runtimes={"torch": "1"})
    except EvaluationError as problem:  # artifact_disagrees, which has the report
        return ParityReport.model_validate(problem.extra["parity"])


def scores(*rows, dtype=torch.float32):
    return [torch.tensor(rows, dtype=dtype)]


WANTED = [scores([0.0, 8.0], [2.0, 1.0]), scores([-2.0, 0.0])]


def test_equal_outputs_agree_exactly():
    told = report(WANTED, WANTED)
    assert (told.max_difference, told.max_relative_difference, told.same_top1, told.agrees) == (0, 0, 1, True)
    assert told.images == 3


def test_the_largest_difference_is_held_against_the_range_over_all_batches():
    told = report(WANTED, [scores([0.0, 8.0], [2.0, 1.5]), scores([-2.0, 0.25])])
    assert (told.max_difference, told.max_relative_difference) == (0.5, 0.05)  # of -2 to 8
    assert (told.same_top1, told.agrees) == (1, False)


def test_another_class_counts_among_the_images():
    told = report(WANTED, [scores([0.0, 8.0], [1.0, 2.0]), scores([-2.0, 0.0])])
    assert told.same_top1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(("dtype", "agrees"), [(torch.float64, False), (torch.float32, True), (torch.float16, True)])
def test_what_is_tolerated_goes_with_the_dtype(dtype, agrees):
    wanted, got = scores([0.0, 1.0], dtype=dtype), scores([5e-5, 1.0], dtype=dtype)
    assert report([wanted], [got], BATCHES[:1]).agrees is agrees


def test_outputs_of_another_shape_are_not_comparable():
    told = report([scores([0.0, 1.0])], [scores([0.0, 1.0, 2.0])], BATCHES[:1])
    assert (told.max_difference, told.max_relative_difference, told.agrees) == (None, None, False)


def test_a_value_that_is_not_finite_where_it_should_be_disagrees():
    told = report([scores([0.0, 1.0])], [scores([0.0, float("nan")])], BATCHES[:1])
    assert (told.max_relative_difference, told.agrees) == (None, False)


def test_the_same_infinities_agree():
    both = [scores([0.0, float("-inf"), 1.0])]
    assert report(both, both, BATCHES[:1]).agrees


def test_a_missing_output_is_not_comparable():
    both = [torch.ones(2, 2), torch.ones(2, 3)]
    assert report([both], [both[:1]], BATCHES[:1]).agrees is False


def test_several_outputs_have_no_class():
    both = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]
    told = report([both], [both], BATCHES[:1])
    assert (told.same_top1, told.agrees) == (None, True)


def test_outputs_in_a_structure_are_a_flat_list():
    network = torch.nn.Identity()
    network.forward = lambda x: {"a": x, "b": (x + 1, 3)}
    assert [tensor.item() for tensor in outputs_of(network)(inputs_of(torch.tensor([1.0])))] == [1.0, 2.0]
