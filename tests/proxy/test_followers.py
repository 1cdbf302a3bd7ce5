import torch
from torch import nn

from proxy.followers import following_norms
from tests.proxy.conftest import seeded


def test_each_layer_has_the_norm_that_takes_its_output(small):
    layers = {name: small.get_submodule(name) for name in ("fc", "conv3", "conv2", "conv1")}
    found = following_norms(small, seeded(1, 3, 12, 12, dtype=torch.float32), layers)
    assert list(found.items()) == [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", None), ("fc", None)]


def test_an_activation_in_between_parts_them():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    assert following_norms(model, torch.zeros(1, 3, 2, 2), {"0": model[0]}) == {"0": None}


def test_a_layer_that_is_not_called_is_left_out(small):
    small.spare = nn.Conv2d(3, 4, 1)
    assert following_norms(small, torch.zeros(1, 3, 12, 12), {"spare": small.spare}) == {}
