import pytest
import torch
from torch import nn

from proxy.surroundings import Surroundings
from proxy.targets import Target
from tests.proxy.conftest import seeded

ALONE = Surroundings(norm=None, alone=False, shortcut=None)


def as_rows(features):
    return torch.stack([image[:, y, x] for image in features for y in range(4) for x in range(5)])


def test_by_itself_it_is_the_dense_output():
    output = seeded(3, 6, 4, 5)
    assert torch.equal(Target(output, ALONE, None, None, channels_last=False).rows(), as_rows(output))
    linear = seeded(3, 4, 6)
    assert torch.equal(Target(linear, ALONE, None, None, channels_last=True).rows(), linear.flatten(0, 1))


@pytest.mark.parametrize("has_norm", [False, True])
def test_it_makes_up_for_the_other_path(has_norm):
    """y₀ + (s₀ − s) g / (g² + ε), a channel at a time."""
    output, wanted, got = (seeded(3, 6, 4, 5, seed=number) for number in range(3))
    norm = nn.BatchNorm2d(6).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 0.5, -2.0, 0.0, 1e-4, 3.0]))
        norm.running_var.copy_(torch.linspace(0.5, 2, 6))
    met = Surroundings(norm=norm if has_norm else None, alone=False, shortcut=4)
    found = Target(output, met, wanted, got, channels_last=False).rows()
    gains = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach() if has_norm else torch.ones(6)
    closed = 1e-3 * float((gains**2).mean()) if has_norm else 0
    for channel, gain in enumerate(gains.double()):
        expected = output[:, channel] + (wanted - got)[:, channel] * gain / (gain**2 + closed)
        torch.testing.assert_close(found[:, channel], expected.flatten())


def test_a_path_of_another_shape_is_not_made_up_for():
    output, wanted, got = seeded(3, 6, 4, 5), seeded(3, 6, 1, 1), seeded(3, 6, 1, 1, seed=1)
    assert torch.equal(Target(output, ALONE, wanted, got, channels_last=False).rows(), as_rows(output))


def test_few_of_the_positions_will_do():
    output, wanted, got = (seeded(3, 6, 4, 5, seed=number) for number in range(3))
    target = Target(output, ALONE, wanted, got, channels_last=False)
    positions = target.at(20, images=3)
    assert positions.tolist() == sorted(set(positions.tolist()))
    assert len(positions) == 7
    assert torch.equal(target.at(20, images=3), positions)
    expected = target.rows().unflatten(0, (3, 20))[:, positions].flatten(0, 1)
    assert torch.equal(target.rows(positions), expected)


def test_all_are_looked_at_where_they_are_no_more_than_enough():
    assert Target(seeded(3, 6, 4, 5), ALONE, None, None, channels_last=False).at(60, images=3) is None
    assert Target(seeded(3, 4, 6), ALONE, None, None, channels_last=True).at(1, images=3) is None
