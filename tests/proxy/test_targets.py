import pytest
import torch
from torch import nn

from proxy.surroundings import Surroundings
from proxy.targets import Sample, Target, at_positions, positions_of
from tests.proxy.conftest import seeded

ALONE = Surroundings(norm=None, alone=False, shortcut=None)


def sample(output, added=None, *, channels_last=False, images=3):
    return Sample.of(output, added, channels_last=channels_last, images=images)


def in_order(features):
    """(B, T, 4, 5) as one row for every position of every image."""
    return torch.stack([torch.stack([image[:, y, x] for y in range(4) for x in range(5)]) for image in features])


def test_positions_are_numbered_row_by_row():
    features, positions = seeded(3, 6, 4, 5), torch.tensor([7, 0, 19])
    assert torch.equal(at_positions(features, positions, channels_last=False), in_order(features)[:, [7, 0, 19]])
    linear = seeded(3, 2, 4, 6)
    assert torch.equal(at_positions(linear, torch.tensor([5, 2]), channels_last=True), linear.flatten(1, 2)[:, [5, 2]])


def test_few_positions_are_the_first_ones_of_many():
    every = positions_of(20, 3, torch.device("cpu"))
    assert sorted(every.tolist()) == list(range(20))
    some = positions_of(20, 1 << 14, torch.device("cpu"))
    assert torch.equal(some, every[:4])
    target = Target(sample(seeded(3, 6, 4, 5)), ALONE, None, 3)
    assert torch.equal(target.positions(), every)
    assert torch.equal(target.positions(enough=19), every[:7])


def test_by_itself_it_is_the_dense_output():
    output = seeded(3, 6, 4, 5)
    target = Target(sample(output), ALONE, None, 3)
    assert torch.equal(target.rows(target.positions()), in_order(output)[:, target.positions()].flatten(0, 1))
    linear = seeded(3, 4, 6)
    target = Target(sample(linear, channels_last=True), ALONE, None, 3)
    assert torch.equal(target.rows(target.positions()), linear[:, target.positions()].flatten(0, 1))


@pytest.mark.parametrize("enough", [None, 19])
@pytest.mark.parametrize("has_norm", [False, True])
def test_it_makes_up_for_the_other_path(has_norm, enough):
    """y₀ + (s₀ − s) g / (g² + ε), a channel at a time."""
    output, wanted, got = (seeded(3, 6, 4, 5, seed=number) for number in range(3))
    norm = nn.BatchNorm2d(6).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 0.5, -2.0, 0.0, 1e-4, 3.0]))
        norm.running_var.copy_(torch.linspace(0.5, 2, 6))
    target = Target(
        sample(output, wanted), Surroundings(norm=norm if has_norm else None, alone=False, shortcut=4), got, 3
    )
    positions = target.positions(enough)
    found = target.rows(positions)
    gains = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach() if has_norm else torch.ones(6)
    closed = 1e-3 * float((gains**2).mean()) if has_norm else 0
    for channel, gain in enumerate(gains.double()):
        expected = output[:, channel] + (wanted - got)[:, channel] * gain / (gain**2 + closed)
        torch.testing.assert_close(found[:, channel], expected.flatten(1)[:, positions].flatten())


@pytest.mark.parametrize(("wanted", "got"), [((1, 1), (1, 1)), ((4, 5), (1, 1)), ((1, 1), (4, 5))])
def test_a_path_of_another_shape_is_not_made_up_for(wanted, got):
    output = seeded(3, 6, 4, 5)
    target = Target(sample(output, seeded(3, 6, *wanted)), ALONE, seeded(3, 6, *got, seed=1), 3)
    assert torch.equal(target.rows(target.positions()), in_order(output)[:, target.positions()].flatten(0, 1))


def test_a_sample_is_a_copy_and_says_what_it_takes():
    output, added = seeded(3, 6, 4, 5), seeded(3, 6, 4, 5, seed=1)
    kept = sample(output, added, images=1 << 14)
    before = kept.output.clone()
    output.zero_()
    assert torch.equal(kept.output, before)
    assert (kept.output.shape, kept.added.shape, kept.there) == ((3, 4, 6), (3, 4, 6), 20)
    assert kept.nbytes == 2 * 3 * 4 * 6 * 8
