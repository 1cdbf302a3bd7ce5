import pytest
import torch
from torch import nn

import proxy
from proxy.layout import Layout
from tests.proxy.conftest import seeded

LAYERS = [
    nn.Linear(6, 9),
    nn.Conv1d(6, 9, 2, groups=3),
    nn.Conv2d(6, 9, (2, 3)),
    nn.ConvTranspose2d(6, 9, (2, 3), groups=3),
    nn.ConvTranspose3d(6, 4, 2, groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_stack_and_back(layer):
    layout = Layout.of(layer)
    stack = layout.stack(layer.weight)
    assert tuple(stack.shape[1:]) == layout.kernel_shape(layer.weight.shape)
    assert torch.equal(layout.weight(stack), layer.weight)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_channels_are_the_layers(layer):
    out, inn = Layout.of(layer).channels(layer.weight.shape)
    names = ("out_features", "in_features") if isinstance(layer, nn.Linear) else ("out_channels", "in_channels")
    assert (out, inn) == tuple(getattr(layer, name) for name in names)


@pytest.mark.parametrize("cls", [nn.Conv2d, nn.ConvTranspose2d])
def test_an_item_of_the_stack_joins_one_output_to_one_input(cls):
    """A single non-zero entry carries a pixel from its input channel to its output channel and nowhere else."""
    layer = cls(6, 9, 1, groups=3, bias=False)
    layout = Layout.of(layer)
    stack = torch.zeros(3, 3, 2, 1, 1)
    stack[1, 2, 0] = 1
    with torch.no_grad():
        layer.weight.copy_(layout.weight(stack))
        out = layer(torch.arange(1.0, 7).view(1, 6, 1, 1)).flatten()
    assert out.nonzero().flatten().tolist() == [3 + 2]
    assert out[5] == 2 + 0 + 1


@pytest.mark.parametrize("groups", [0, -1, True, 1.5])
def test_what_is_no_number_of_groups_is_refused(groups):
    with pytest.raises(proxy.ShapeMismatch, match="one group or more"):
        proxy.decompose(seeded(6, 4, 3, 3), "cp3", 2, groups=groups)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(proxy.ShapeMismatch, match="4 groups"):
        proxy.decompose(seeded(6, 4, 3, 3), "cp3", 2, groups=4)
