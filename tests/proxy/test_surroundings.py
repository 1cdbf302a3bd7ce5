import pytest
import torch
from torch import nn

from proxy.surroundings import find_surroundings


class Block(nn.Module):
    """A residual block of one convolution; what is added, and how, is the test's."""

    def __init__(self, add):
        super().__init__()
        self.before = nn.Conv2d(3, 4, 1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.project = nn.Conv2d(4, 4, 1)
        self.add = add

    def forward(self, x):
        x = torch.relu_(self.before(x))
        return self.add(self, x)


def late(block, x):
    out = block.norm(block.conv(x))
    return out + block.project(x)


def found(add, names=("before", "conv", "project")):
    torch.manual_seed(0)
    met = find_surroundings(Block(add).eval(), torch.randn(1, 3, 6, 6), names)
    return {name: around for name, around in met.items() if around.shortcut is not None}


@pytest.mark.parametrize(
    "add",
    [
        lambda b, x: b.norm(b.conv(x)) + x,
        lambda b, x: x + b.norm(b.conv(x)),
        lambda b, x: b.norm(b.conv(x)).add_(x),
        lambda b, x: torch.relu(torch.add(b.norm(b.conv(x)), x)),
    ],
)
def test_an_identity_path_is_found_however_it_is_added(add):
    shortcuts = found(add)
    assert set(shortcuts) == {"conv"}
    assert shortcuts["conv"].norm is not None


def test_a_layer_without_batchnorm_is_added_as_it_is():
    assert found(lambda b, x: b.conv(x) + x)["conv"].norm is None


def test_of_two_layers_that_are_added_the_later_one_makes_up_for_the_earlier():
    assert set(found(late)) == {"project"}


@pytest.mark.parametrize(
    "add",
    [
        lambda b, x: b.norm(b.conv(x)),
        lambda b, x: torch.relu(b.norm(b.conv(x))) + x,
        lambda b, x: torch.add(b.norm(b.conv(x)), x, alpha=2),
        lambda b, x: b.norm(b.conv(x)) + 1,
        lambda b, x: b.norm(b.conv(x)) + x.mean((2, 3), keepdim=True),
    ],
)
def test_what_is_no_plain_addition_of_two_paths_is_none(add):
    assert found(add) == {}


def test_the_gain_is_what_the_batchnorm_makes_of_one_unit():
    torch.manual_seed(0)
    block = Block(lambda b, x: b.norm(b.conv(x)) + x).eval()
    with torch.no_grad():
        block.norm.running_var.uniform_(0.5, 2)
        block.norm.weight.uniform_(-2, 2)
    met = find_surroundings(block, torch.randn(1, 3, 6, 6), ["conv"])["conv"]
    unit = torch.ones(1, 4, 1, 1)
    seen = block.norm(unit) - block.norm(0 * unit)
    torch.testing.assert_close(met.gain().float(), seen.flatten().detach())


def test_the_networks_own_input_may_be_added():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    net.forward = lambda x: net[0](x) + x
    assert find_surroundings(net, torch.randn(1, 3, 6, 6), ["0"])["0"].shortcut == -1


def alone(add):
    torch.manual_seed(0)
    return find_surroundings(Block(add).eval(), torch.randn(1, 3, 6, 6), ["conv"])["conv"].alone


def test_a_layer_and_its_batchnorm_are_alone_where_neither_meets_anybody_else():
    assert alone(lambda b, x: b.norm(b.conv(x)) + x)


def both(block, x):
    out = block.conv(x)
    return block.norm(out) + out


@pytest.mark.parametrize(
    "add",
    [
        lambda b, x: b.conv(x) + x,
        both,
        lambda b, x: b.norm(b.conv(x)) + b.norm(x),
        lambda b, x: b.norm(b.conv(torch.relu(b.norm(b.conv(x))))),
    ],
    ids=["no norm", "the output is used twice", "the norm is used twice", "the block is called twice"],
)
def test_they_are_not_where_one_of_them_does(add):
    assert not alone(add)
