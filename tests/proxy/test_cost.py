import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import proxy
from tests.proxy.conftest import seeded


def oracle(model, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_macs_are_torchs_own_count(name):
    model = torchvision.models.get_model(name, weights=None)
    image = torch.zeros(1, 3, 96, 96)
    assert proxy.cost(model, image).macs == oracle(model, image)


def test_params_are_all_parameters():
    model = torchvision.models.resnet18()
    assert proxy.cost(model, torch.zeros(1, 3, 64, 64)).params == 11_689_512


def test_the_dense_resnet18_is_the_published_one():
    assert proxy.cost(torchvision.models.resnet18(), torch.zeros(1, 3, 224, 224)).macs == 1_814_073_344


def test_the_cost_is_that_of_one_image(small):
    one, many = (proxy.cost(small, torch.zeros(n, 3, 12, 12)) for n in (1, 5))
    assert one == many


def test_the_layers_add_up_to_the_whole(small):
    cost = proxy.cost(small, torch.zeros(1, 3, 12, 12))
    assert sum(layer.macs for layer in cost.layers.values()) == cost.macs
    assert sum(layer.params for layer in cost.layers.values()) == cost.params


class Functional(nn.Module):
    """Products that no module stands for."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(seeded(4, 3, 3, 3, dtype=torch.float32))
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        x = self.up(functional.conv2d(x, self.weight, padding=1))
        x = x.flatten(2).mT
        return self.attention(x, x, x)[0] @ x.mT


def test_functional_products_count():
    # 6×6 positions: conv 108, transposed 96 each; 144 tokens of 6 features in attention and the last product
    convolutions = 36 * (4 * 3 * 9 + 4 * 6 * 4)
    attention = 144 * 6 * 18 + 144 * 6 * 6 + 2 * 144 * 144 * 6
    assert proxy.cost(Functional(), torch.zeros(1, 3, 6, 6)).macs == convolutions + attention + 144 * 144 * 6


def test_a_shared_parameter_counts_once():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    assert proxy.cost(model, torch.zeros(1, 5)).params == 25 + 5 + 5


@pytest.mark.parametrize("inputs", [(), ("x",), {}, (1.0,)])
def test_inputs_without_an_image_are_refused(inputs):
    class Any(nn.Module):
        def forward(self, *args, **kwargs):
            return torch.zeros(1)

    with pytest.raises(proxy.MissingInput):
        proxy.cost(Any(), inputs)


CP3 = {
    3.28: "61 55 73 63 131 127 157 113 145 223 231 220 307 644 505 248",
    3.01: "64 61 78 73 133 146 173 131 159 248 268 249 363 752 574 282",
    2.53: "74 67 93 81 169 211 225 169 178 317 329 363 399 964 787 341",
    1.90: "101 90 133 107 249 293 302 212 247 438 492 396 605 1300 1200 850",
}


@pytest.mark.parametrize(("cut", "ranks"), CP3.items())
def test_the_published_cuts_of_resnet18(cut, ranks):
    """Ranks and cuts of the authors' group; costs alone, so the factors are zeros."""
    model = torchvision.models.resnet18()
    names = [f"layer{i}.{j}.conv{k}" for i in (1, 2, 3, 4) for j in (0, 1) for k in (1, 2)]
    with torch.no_grad():
        for name in names:
            model.get_submodule(name).weight.zero_()
    chosen = {name: {"method": "cp3", "rank": int(rank)} for name, rank in zip(names, ranks.split(), strict=True)}
    image = torch.zeros(1, 3, 224, 224)
    assert proxy.cost(model, image).macs / proxy.cost(proxy.compress(model, chosen), image).macs == pytest.approx(
        cut, rel=0.01
    )
