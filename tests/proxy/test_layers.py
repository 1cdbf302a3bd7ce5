import pytest
import torch
from torch import nn

import proxy
from proxy.layers import factorized_layer
from tests.proxy.conftest import cp_tensor, seeded

WALKS = [
    {},
    {"bias": False},
    {"stride": 2},
    {"stride": (2, 1), "padding": (0, 2)},
    {"padding": 1, "dilation": 2},
    {"padding": "same", "dilation": (1, 2)},
    {"padding": "valid"},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 2, "padding_mode": "circular", "stride": 3},
    {"padding": (1, 2), "padding_mode": "replicate", "bias": False},
    {"padding": "same", "padding_mode": "reflect"},
]


def check(dense, factors, x):
    chain = factorized_layer(dense, factors)
    with torch.no_grad():
        expected, got = dense(x), chain(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("walk", WALKS, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (3, 5)])
@pytest.mark.parametrize(
    ("method", "ranks"), [("tucker2", (6, 5)), ("spatial_svd", 15), ("cp3", 4), ("tucker2_cp3", (4, 4, 4))]
)
def test_exact_factors_reproduce_the_convolution(method, ranks, kernel, walk):
    dense = nn.Conv2d(5, 6, kernel, **walk)
    with torch.no_grad():
        dense.weight.copy_(cp_tensor(6, 5, kernel[0] * kernel[1], 3).view(6, 5, *kernel) / 5)
    options = {"solver": "als", "max_sweeps": 500, "tolerance": 0.0} if "cp3" in method else {}
    check(dense, proxy.decompose(dense.weight, method, ranks, **options), seeded(2, 5, 13, 12, dtype=torch.float32))


@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_full_rank_svd_reproduces_a_pointwise_convolution(walk):
    walk = {**walk, "padding": 0} if walk.get("padding_mode") in ("reflect", "circular") else walk
    dense = nn.Conv2d(5, 6, 1, **walk)
    check(dense, proxy.decompose(dense.weight, "svd", 5), seeded(2, 5, 13, 12, dtype=torch.float32))


@pytest.mark.parametrize("shape", [(4, 7), (2, 3, 7), (7,)])
@pytest.mark.parametrize("bias", [True, False])
def test_full_rank_svd_reproduces_a_linear_layer(shape, bias):
    dense = nn.Linear(7, 9, bias=bias)
    check(dense, proxy.decompose(dense.weight, "svd", 7), seeded(*shape, dtype=torch.float32))


@pytest.mark.parametrize("method", ["tucker2", "cp3"])
def test_one_dimensional_convolutions(method):
    dense = nn.Conv1d(5, 6, 3, padding=1, stride=2)
    ranks = (6, 5) if method == "tucker2" else 15
    options = {"solver": "als", "max_sweeps": 300, "tolerance": 0.0} if method == "cp3" else {}
    check(dense, proxy.decompose(dense.weight, method, ranks, **options), seeded(2, 5, 13, dtype=torch.float32))


def test_three_dimensional_convolutions():
    dense = nn.Conv3d(3, 4, (3, 1, 2), padding=(1, 0, 1))
    check(dense, proxy.decompose(dense.weight, "tucker2", (4, 3)), seeded(2, 3, 6, 5, 4, dtype=torch.float32))


def test_the_kernel_layer_of_cp3_is_depthwise():
    chain = factorized_layer(nn.Conv2d(8, 8, 3), proxy.decompose(seeded(8, 8, 3, 3), "cp3", 5))
    assert chain.space.groups == 5


def test_a_tucker2_with_a_cp_core_is_five_layers_the_third_depthwise():
    dense = nn.Conv2d(8, 6, 3, stride=2, padding=1)
    chain = factorized_layer(dense, proxy.decompose(dense.weight, "tucker2_cp3", (4, 3, 7)))
    assert [(layer.in_channels, layer.out_channels, layer.groups) for layer in chain] == [
        (8, 3, 1),
        (3, 7, 1),
        (7, 7, 7),
        (7, 4, 1),
        (4, 6, 1),
    ]
    assert [layer.bias is not None for layer in chain] == [False, False, False, False, True]


def test_type_and_memory_format_are_kept():
    dense = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last, dtype=torch.float64)
    chain = factorized_layer(dense, proxy.decompose(dense.weight, "tucker2", (4, 4)))
    assert chain.space.weight.dtype == torch.float64
    assert chain.space.weight.is_contiguous(memory_format=torch.channels_last)


def test_mode_and_frozen_parameters_are_kept():
    dense = nn.Conv2d(8, 8, 3).eval().requires_grad_(requires_grad=False)
    chain = factorized_layer(dense, proxy.decompose(dense.weight, "cp3", 4))
    assert not chain.space.training
    assert not any(parameter.requires_grad for parameter in chain.parameters())


def test_the_tensors_are_copies():
    dense = nn.Conv2d(8, 8, 3)
    factors = proxy.decompose(dense.weight, "cp3", 4)
    before = {name: tensor.clone() for name, tensor in factors.tensors.items()}
    chain = factorized_layer(dense, factors)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], factors.tensors[name]) for name in before)
    assert float(dense.bias.abs().sum()) > 0


@pytest.mark.parametrize("cls", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize(
    ("method", "ranks"), [("tucker2", (3, 3)), ("spatial_svd", 4), ("cp3", 4), ("tucker2_cp3", (3, 3, 5))]
)
def test_a_chain_exports(cls, method, ranks):
    dense = cls(8, 8, 3, padding=1, stride=2, groups=2)
    options = {"groups": 2, "transposed": dense.transposed}
    chain = factorized_layer(dense, proxy.decompose(dense.weight, method, ranks, **options)).eval()
    exported = torch.export.export(chain, (torch.zeros(1, 8, 9, 9),))
    x = seeded(1, 8, 9, 9, dtype=torch.float32)
    torch.testing.assert_close(exported.module()(x), chain(x))


def test_positions_that_no_kernel_entry_reaches_hold_the_bias():
    dense = nn.ConvTranspose2d(4, 6, 2, stride=5, output_padding=3)
    chain = factorized_layer(dense, proxy.decompose(dense.weight, "tucker2", (2, 2), transposed=True))
    with torch.no_grad():
        bare = chain(seeded(1, 4, 3, 3, dtype=torch.float32))[0, :, 2::5, 2::5]
    assert torch.equal(bare, dense.bias.detach()[:, None, None].expand_as(bare))


def test_only_what_walks_the_image_is_transposed():
    dense = nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2)
    chain = factorized_layer(dense, proxy.decompose(dense.weight, "cp3", 4, groups=2, transposed=True))
    assert [type(layer) for layer in chain] == [nn.Conv2d, nn.ConvTranspose2d, nn.Conv2d]
    assert [layer.groups for layer in chain] == [2, 8, 2]
