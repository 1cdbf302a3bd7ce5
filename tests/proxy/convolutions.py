"""Convolutions of every kind, drawn by hypothesis."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import nn

from proxy.layout import Layout
from proxy.ranks import METHODS
from proxy.solvers import refuse_shape
from tests.proxy.conftest import seeded

ORDINARY = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Case(NamedTuple):
    """A dense layer with its own random weight, the size of its input, and a method that fits it."""

    dense: nn.Module
    input_shape: tuple[int, ...]
    method: str

    @property
    def layout(self):
        return Layout.of(self.dense)


@st.composite
def cases(draw, channels=(2, 4)):
    """Any kind, groups, walk over the image, bias and fitting method; small, no group of a single channel."""
    kind = draw(st.sampled_from([*ORDINARY, *TRANSPOSED]))
    dims = (ORDINARY if kind in ORDINARY else TRANSPOSED).index(kind) + 1
    groups = draw(st.integers(1, 3))
    inn, out = (groups * draw(st.integers(*channels)) for _ in range(2))
    kernel = draw(st.tuples(*[st.integers(1, 4 - (dims == 3))] * dims))
    stride, dilation = (draw(st.tuples(*[st.integers(1, top)] * dims)) for top in (3, 2))
    options = {"stride": stride, "dilation": dilation, "padding": draw(st.tuples(*[st.integers(0, 2)] * dims))}
    if kind in TRANSPOSED:
        reach = zip(stride, dilation, strict=True)
        options["output_padding"] = draw(st.tuples(*(st.integers(0, max(pair) - 1) for pair in reach)))
    else:
        padding = draw(st.sampled_from(["numbers", "same", "valid"]))
        if padding != "numbers":
            options |= {"padding": padding, "stride": 1 if padding == "same" else stride}
        options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    dense = kind(inn, out, kernel, groups=groups, bias=draw(st.booleans()), **options)
    shape = dense.weight.shape
    with torch.no_grad():
        dense.weight.copy_(seeded(*shape, seed=draw(st.integers(0, 99))))
        if dense.bias is not None:
            dense.bias.copy_(seeded(out, seed=1))
    size = draw(st.tuples(*[st.integers(7, 9)] * dims))
    fitting = [method for method in METHODS if refuse_shape(method, Layout.of(dense).kernel_shape(shape)) is None]
    return Case(dense, (2, inn, *size), draw(st.sampled_from(fitting)))
