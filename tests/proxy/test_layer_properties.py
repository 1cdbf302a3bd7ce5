"""What holds for every convolution and every method."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import proxy
from proxy.layers import factorized_layer
from proxy.ranks import METHODS, maximum_ranks
from tests.proxy.conftest import seeded
from tests.proxy.convolutions import cases

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Of the outputs' relative error: round-off of the type, and for the wide types the limit of CP's iteration."""


def orthogonal(rows, columns, seed):
    return torch.linalg.qr(seeded(rows, columns, seed=seed))[0]


def two_components(kernel_shape, seed):
    """A kernel (T, S, k…) of CP rank two whose components do not disturb each other: ALS finds it."""
    out, inn, *kernel = kernel_shape
    space = seeded(torch.Size(kernel).numel(), 2, seed=seed)
    full = torch.einsum("tr,sr,dr->tsd", orthogonal(out, 2, seed), orthogonal(inn, 2, seed), space)
    return full.view(kernel_shape)


def exact(case):
    """The layer's factors at ranks that represent its weight exactly; CP gets a weight of low rank for that."""
    dense, layout = case.dense, case.layout
    kernel_shape = layout.kernel_shape(dense.weight.shape)
    ranks, options = maximum_ranks(case.method, kernel_shape), {}
    if case.method in ("cp3", "tucker2_cp3"):
        stack = torch.stack([two_components(kernel_shape, seed) for seed in range(layout.groups)])
        with torch.no_grad():
            dense.weight.copy_(layout.weight(stack))
        ranks = 2 if case.method == "cp3" else (2, 2, 2)
        options = {"solver": "als", "max_sweeps": 300, "tolerance": 0.0}
    return proxy.decompose(
        dense.weight, case.method, ranks, groups=layout.groups, transposed=layout.transposed, **options
    )


CHANNELS_LAST = {3: torch.contiguous_format, 4: torch.channels_last, 5: torch.channels_last_3d}
"""Axes of the weight → memory format; one-dimensional layers have none of their own."""


@settings(max_examples=250)
@given(cases(), st.sampled_from(list(TOLERANCE)), st.booleans(), st.booleans(), st.booleans())
def test_full_rank_stands_in_for_the_layer(case, dtype, last, training, frozen):
    dense = case.dense.to(dtype).train(training).requires_grad_(not frozen)
    form = CHANNELS_LAST[dense.weight.ndim] if last else torch.contiguous_format
    dense = dense.to(memory_format=form)
    chain = factorized_layer(dense, exact(case))
    x = seeded(*case.input_shape).to(dtype)
    wide = copy.deepcopy(dense).to(torch.promote_types(dtype, torch.float32))
    with torch.no_grad():
        expected = wide(x.to(wide.weight))
        got = chain(x)
    assert got.shape == expected.shape
    assert got.dtype == dtype
    assert float((got.to(expected) - expected).norm() / expected.norm()) < TOLERANCE[dtype]

    for layer in chain:
        assert layer.weight.dtype == dtype
        assert layer.weight.device == dense.weight.device
        assert layer.weight.requires_grad != frozen
        assert layer.training == training
        # a kernel of one position lies in both formats, and so may its chain
        assert layer.weight.is_contiguous(memory_format=form) or dense.weight.is_contiguous()
    assert (chain.last.bias is None) == (dense.bias is None)
    assert all(layer.bias is None for layer in chain[:-1])


@settings(max_examples=60)
@given(cases(channels=(3, 12)), st.data())
def test_the_grid_tells_torchs_own_count(case, data):
    """Against ``FlopCounterMode`` and the parameters of the chain; the cost is the ranks' alone, so zeros will do."""
    model = nn.Sequential(case.dense).eval()
    with torch.no_grad():
        case.dense.weight.zero_()
    x = torch.zeros(case.input_shape)
    (site,) = proxy.find_sites(model, x)
    assert (2 * site.macs, site.params) == counted(model, x)
    if not site.grids:
        assert site.reason_dense.startswith("too small")
        return
    for method, grid in site.grids.items():
        point = data.draw(st.sampled_from(grid))
        small = proxy.compress(model, {"0": {"method": method, **point.ranks}})
        assert (2 * point.macs, point.params) == counted(small, x)
        assert point.macs < site.macs
        assert point.params < site.params


def counted(model, x):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // len(x), sum(parameter.numel() for parameter in model.parameters())


@settings(max_examples=60)
@given(cases(channels=(1, 4)))
def test_the_error_is_that_of_the_whole_weight(case):
    layout, weight = case.layout, case.dense.weight.detach().double()
    with torch.no_grad():  # groups of unlike size weigh unlike
        layout.stack(weight)[0] *= 10
    ranks = tuple(1 for _ in METHODS[case.method])
    found = proxy.decompose(weight, case.method, ranks, groups=layout.groups, transposed=layout.transposed)
    assert found.reconstruct().shape == weight.shape
    error = float((weight - found.reconstruct()).norm() / weight.norm())
    assert found.relative_error == pytest.approx(error, rel=1e-6, abs=1e-9)
    chain = factorized_layer(case.dense, found)
    assert found.params == sum(layer.weight.numel() for layer in chain)
