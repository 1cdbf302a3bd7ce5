import pytest
import torch
from torch import nn
from torch.nn import functional

from proxy.patches import Walk
from tests.proxy.conftest import seeded

WALKS = [
    {"kernel_size": 3},
    {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": (2, 3), "dilation": (3, 2), "stride": (1, 3), "padding": (0, 4)},
]


def unfolded(entering, walk):
    """Torch's own, as rows."""
    found = functional.unfold(entering, walk["kernel_size"], **{k: v for k, v in walk.items() if k != "kernel_size"})
    return found.mT.flatten(0, 1)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("walk", WALKS)
def test_the_patches_are_those_of_unfold(walk, order):
    entering = seeded(3, 4, 11, 13).contiguous(memory_format=order)
    expected = unfolded(entering, walk)
    found = Walk([nn.Conv2d(4, 2, **walk)]).patches(entering, torch.arange(len(expected) // 3))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("walk", WALKS)
def test_at_some_positions_they_are_those_rows(walk):
    entering, positions = seeded(3, 4, 11, 13), torch.tensor([0, 2, 7, 19])
    found = Walk([nn.Conv2d(4, 2, **walk)]).patches(entering, positions)
    expected = unfolded(entering, walk).unflatten(0, (3, -1))[:, positions].flatten(0, 1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_the_margin_is_filled_as_the_layer_fills_it(mode):
    entering = seeded(2, 3, 6, 7)
    expected = unfolded(functional.pad(entering, (2, 2, 1, 1), mode), {"kernel_size": 3})
    layer = nn.Conv2d(3, 2, 3, padding=(1, 2), padding_mode=mode)
    assert torch.equal(Walk([layer]).patches(entering, torch.arange(len(expected) // 2)), expected)


def test_a_chain_walks_as_its_layers_do_together():
    entering = seeded(2, 3, 8, 9)
    chain = [nn.Conv2d(3, 4, (3, 1), stride=(2, 1), padding=(1, 0)), nn.Conv2d(4, 5, (1, 5), padding=(0, 2))]
    walk = Walk(chain)
    assert walk.entries == 15
    expected = unfolded(entering, {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)})
    assert torch.equal(walk.patches(entering, torch.arange(len(expected) // 2)), expected)
