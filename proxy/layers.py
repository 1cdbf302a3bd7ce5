"""Factorised layers: chains of plain convolutions or linear layers that stand in for a dense one.

============= ====================================================================================================
method        chain
============= ====================================================================================================
svd           1×1 S→R, 1×1 R→T
spatial_svd   kh×1 S→R, 1×kw R→T
tucker2       1×1 S→R_in, k×k R_in→R_out, 1×1 R_out→T
cp3           1×1 S→R, depthwise k×k on R, 1×1 R→T
tucker2_cp3   1×1 S→R_in, 1×1 R_in→R, depthwise k×k on R, 1×1 R→R_out, 1×1 R_out→T
============= ====================================================================================================

Stride, padding, padding mode, dilation and output padding stay on the k×k layer (for svd, on the first), which
commutes with the 1×1 layers around it: none but the last has a bias. Nor do padded values part them: a 1×1 layer
without a bias maps zeros to zeros and a reflected, replicated or wrapped pixel to the reflected, replicated or
wrapped one. The spatial halves take the vertical and the horizontal share of each.

A grouped layer becomes a chain of as many groups; one group's channels lie side by side in every layer, so the
groups never mix. In a transposed layer's chain only what walks the image is transposed; its last layer, an ordinary
1×1 (but for spatial_svd), adds the bias everywhere, also where no kernel entry lands.

Shapes: g groups, T output and S input channels of the whole layer, kh × kw kernel, D = kh·kw, ranks of every group.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.factors import Factors
from proxy.kernel import narrowed
from proxy.layout import Layout
from proxy.ranks import Ranks

__all__ = ["DenseLayer", "FactorizedLayer", "factorized_layer", "factorized_layers"]

DenseLayer: TypeAlias = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
)


class FactorizedLayer(nn.Sequential):
    """A chain that replaces a dense layer; a plain ``nn.Sequential`` to everything but :mod:`proxy`.

    Args:
        *layers: as for ``nn.Sequential``.
        method: name of the decomposition.
        ranks: in the order of the weight.
    """

    def __init__(self, *layers: Any, method: str = "", ranks: Ranks = ()) -> None:  # noqa: ANN401 - as nn.Sequential
        super().__init__(*layers)
        self.method = method
        self.ranks = ranks

    @property
    def last(self) -> DenseLayer:
        """The layer that ends the chain: the one with the bias."""
        return self[-1]  # type: ignore[return-value]  # built by this module

    def extra_repr(self) -> str:
        """Method and ranks, for ``print(model)``."""
        return f"method={self.method!r}, ranks={self.ranks}"


def factorized_layers(model: nn.Module) -> dict[str, FactorizedLayer]:
    """Name → factorised layer, in the order of the model's modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FactorizedLayer)}


def factorized_layer(dense: DenseLayer, factors: Factors) -> FactorizedLayer:
    """The chain that computes what ``dense`` computes, with the factors' reconstruction for a weight.

    Type, device, memory format, mode and ``requires_grad`` are those of the dense layer; tensors are copied.
    """
    kernel_size = () if isinstance(dense, nn.Linear) else dense.kernel_size
    links = _CHAINS[factors.method](factors.by_group(), kernel_size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, link in enumerate(links, 1):
        layers[link.name] = _layer(dense, link, dense.bias if number == len(links) else None)
    chain = FactorizedLayer(layers, method=factors.method, ranks=factors.ranks)
    chain.train(dense.training)
    return chain


class _Link(NamedTuple):
    """One layer of a chain.

    Args:
        name: inside the chain.
        stack: its weight, canonically ``(g, O, I, k…)`` (:mod:`proxy.layout`).
        walks: the spatial axes along which it walks the image as the dense layer does; along the others it keeps
            every pixel where it is.
    """

    name: str
    stack: Float[Tensor, "g O I *k"]
    walks: tuple[int, ...] = ()


def _svd_chain(t: Mapping[str, Tensor], kernel_size: tuple[int, ...]) -> list[_Link]:
    """The first walks: with a stride, it skips what nobody reads."""
    walks = tuple(range(len(kernel_size)))
    return [
        _Link("reduce", _pointwise(t["in"], kernel_size), walks),
        _Link("expand", _pointwise(t["out"], kernel_size)),
    ]


def _spatial_chain(t: Mapping[str, Tensor], kernel_size: tuple[int, ...]) -> list[_Link]:
    del kernel_size  # written in the shapes of the factors: out (g, T/g, kw, R), in (g, S/g, kh, R)
    vertical = t["in"].permute(0, 3, 1, 2)[..., None]
    horizontal = t["out"].permute(0, 1, 3, 2)[..., None, :]
    return [_Link("vertical", vertical, (0,)), _Link("horizontal", horizontal, (1,))]


def _tucker2_chain(t: Mapping[str, Tensor], kernel_size: tuple[int, ...]) -> list[_Link]:
    core = t["core"].reshape(*t["core"].shape[:3], *kernel_size)
    return [
        _Link("reduce", _pointwise(t["in"].mT, kernel_size)),
        _Link("space", core, tuple(range(len(kernel_size)))),
        _Link("expand", _pointwise(t["out"], kernel_size)),
    ]


def _cp3_chain(t: Mapping[str, Tensor], kernel_size: tuple[int, ...]) -> list[_Link]:
    depthwise = t["space"].mT.reshape(-1, 1, 1, *kernel_size)
    return [
        _Link("reduce", _pointwise(t["in"].mT, kernel_size)),
        _Link("space", depthwise, tuple(range(len(kernel_size)))),
        _Link("expand", _pointwise(t["out"], kernel_size)),
    ]


def _tucker2_cp3_chain(t: Mapping[str, Tensor], kernel_size: tuple[int, ...]) -> list[_Link]:
    depthwise = t["space"].mT.reshape(-1, 1, 1, *kernel_size)
    return [
        _Link("reduce", _pointwise(t["in"].mT, kernel_size)),
        _Link("widen", _pointwise(t["core_in"].mT, kernel_size)),
        _Link("space", depthwise, tuple(range(len(kernel_size)))),
        _Link("narrow", _pointwise(t["core_out"], kernel_size)),
        _Link("expand", _pointwise(t["out"], kernel_size)),
    ]


_CHAINS: Mapping[str, Callable[[Mapping[str, Tensor], tuple[int, ...]], list[_Link]]] = {
    "svd": _svd_chain,
    "spatial_svd": _spatial_chain,
    "tucker2": _tucker2_chain,
    "cp3": _cp3_chain,
    "tucker2_cp3": _tucker2_cp3_chain,
}
"""Method → its chain, from the factors by group (:meth:`proxy.Factors.by_group`) and the dense kernel's size."""


def _pointwise(matrices: Float[Tensor, "g O I"], kernel_size: tuple[int, ...]) -> Float[Tensor, "g O I *1"]:
    return matrices.reshape(*matrices.shape, *(1 for _ in kernel_size))


def _layer(dense: Any, link: _Link, bias: Tensor | None) -> nn.Module:  # noqa: ANN401 - a layer of any kind
    """A layer around a link's weight and a bias, on the meta device until its own tensors are put in."""
    groups, out, inn, *kernel_size = link.stack.shape
    layout = Layout(groups, transposed=bool(link.walks) and Layout.of(dense).transposed)
    options: dict[str, Any] = {"bias": bias is not None, "device": "meta"}
    if isinstance(dense, nn.Linear):
        layer: nn.Module = nn.Linear(inn, out, **options)
    else:
        if link.walks:
            options |= _walk(dense, link.walks, layout)
        cls = type(dense) if link.walks else _POINTWISE[len(kernel_size)]
        layer = cls(groups * inn, groups * out, tuple(kernel_size), groups=groups, **options)
    _fill(layer, layout.weight(link.stack), bias, dense)
    return layer


_POINTWISE: Mapping[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""Spatial axes → the class of the 1×1 layers around the one that walks."""


def _walk(dense: Any, axes: tuple[int, ...], layout: Layout) -> dict[str, Any]:  # noqa: ANN401 - a convolution
    """How the dense layer walks along some axes, standing still along the others."""
    options: dict[str, Any] = {"padding_mode": dense.padding_mode}
    still = {"stride": 1, "padding": 0, "dilation": 1, **({"output_padding": 0} if layout.transposed else {})}
    for name, value in still.items():
        given = getattr(dense, name)
        named = isinstance(given, str)  # "same" and "valid": what they pad follows from the layer's own kernel
        options[name] = given if named else tuple(x if axis in axes else value for axis, x in enumerate(given))
    return options


def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None, dense: DenseLayer) -> None:
    """Parameters of the dense layer's type, device and memory format; always copies."""
    model = dense.weight
    own = narrowed(weight, model.dtype).to(model.device).clone(memory_format=torch.contiguous_format)
    channels_last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(model.ndim)
    if channels_last is not None and not model.is_contiguous() and model.is_contiguous(memory_format=channels_last):
        own = own.contiguous(memory_format=channels_last)
    layer.weight = nn.Parameter(own, requires_grad=model.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
