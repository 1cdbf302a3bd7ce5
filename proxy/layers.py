"""Factorised layers: chains of plain convolutions or linear layers that stand in for a dense one.

Stride, padding, padding mode and dilation stay on the k×k layer, which commutes with the 1×1 layers around it
because the first has no bias; the bias goes to the last. The spatial halves take the vertical and the
horizontal share of each.

Shapes: T output channels, S input channels, kh × kw kernel, D = kh·kw.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.factors import Factors
from proxy.ranks import Ranks

__all__ = ["DenseLayer", "FactorizedLayer", "factorized_layer", "factorized_layers"]

DenseLayer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


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
    if isinstance(dense, nn.Linear):
        layers = _linear_chain(dense, factors)
    else:
        build = {"svd": _svd_chain, "spatial_svd": _spatial_chain, "tucker2": _tucker2_chain, "cp3": _cp3_chain}
        layers = build[factors.method](dense, factors)
    chain = FactorizedLayer(OrderedDict(layers), method=factors.method, ranks=factors.ranks)
    chain.train(dense.training)
    return chain


def _linear_chain(dense: nn.Linear, factors: Factors) -> list[tuple[str, nn.Module]]:
    """``x → x Bᵀ → · Aᵀ + b``."""
    inn, out = factors.tensors["in"], factors.tensors["out"]
    first = nn.Linear(inn.shape[1], inn.shape[0], bias=False, device="meta")
    last = nn.Linear(out.shape[1], out.shape[0], bias=dense.bias is not None, device="meta")
    _fill(first, inn, None, dense)
    _fill(last, out, dense.bias, dense)
    return [("reduce", first), ("expand", last)]


def _svd_chain(dense: Any, factors: Factors) -> list[tuple[str, nn.Module]]:  # noqa: ANN401 - a convolution
    """Two 1×1 convolutions; the stride stays on the first, so that it skips what nobody reads."""
    first = _conv(dense, _pointwise(factors.tensors["in"], dense), spatial=True)
    return [("reduce", first), ("expand", _last(dense, factors.tensors["out"]))]


def _cp3_chain(dense: Any, factors: Factors) -> list[tuple[str, nn.Module]]:  # noqa: ANN401 - a convolution
    """1×1 with Bᵀ, depthwise k×k with the columns of C, 1×1 with A."""
    out, inn, space = (factors.tensors[name] for name in ("out", "in", "space"))
    rank = space.shape[1]
    middle = _conv(dense, space.mT.reshape(rank, 1, *dense.kernel_size), spatial=True, groups=rank)
    return [("reduce", _conv(dense, _pointwise(inn.mT, dense))), ("space", middle), ("expand", _last(dense, out))]


def _tucker2_chain(dense: Any, factors: Factors) -> list[tuple[str, nn.Module]]:  # noqa: ANN401 - a convolution
    """1×1 with Vᵀ, k×k with the core, 1×1 with U."""
    out, inn, core = (factors.tensors[name] for name in ("out", "in", "core"))
    middle = _conv(dense, core.reshape(*core.shape[:2], *dense.kernel_size), spatial=True)
    return [("reduce", _conv(dense, _pointwise(inn.mT, dense))), ("space", middle), ("expand", _last(dense, out))]


def _spatial_chain(dense: nn.Conv2d, factors: Factors) -> list[tuple[str, nn.Module]]:
    """(kh × 1) over the input channels, then (1 × kw) to the output channels."""
    out, inn = factors.tensors["out"], factors.tensors["in"]
    padding = (dense.padding,) * 2 if isinstance(dense.padding, str) else dense.padding
    halves = []
    for axis, weight in enumerate((inn.permute(2, 0, 1)[..., None], out.permute(0, 2, 1)[:, :, None, :])):
        here = [axis == other for other in (0, 1)]
        layer = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            stride=tuple(value if mine else 1 for value, mine in zip(dense.stride, here, strict=True)),  # type: ignore[arg-type]  # two of them
            padding=padding[axis] if isinstance(padding[axis], str) else _two(padding, here),
            dilation=tuple(value if mine else 1 for value, mine in zip(dense.dilation, here, strict=True)),  # type: ignore[arg-type]  # two of them
            padding_mode=dense.padding_mode,
            bias=axis == 1 and dense.bias is not None,
            device="meta",
        )
        _fill(layer, weight, dense.bias if axis == 1 else None, dense)
        halves.append(layer)
    return [("vertical", halves[0]), ("horizontal", halves[1])]


def _two(padding: Any, here: list[bool]) -> Any:  # noqa: ANN401 - torch's padding types
    return tuple(value if mine else 0 for value, mine in zip(padding, here, strict=True))


def _pointwise(matrix: Float[Tensor, "O I"], dense: Any) -> Tensor:  # noqa: ANN401 - a convolution
    return matrix.reshape(*matrix.shape, *(1 for _ in dense.kernel_size))


def _last(dense: Any, out: Float[Tensor, "T R"]) -> nn.Module:  # noqa: ANN401 - a convolution
    return _conv(dense, _pointwise(out, dense), bias=dense.bias)


def _conv(
    dense: Any,  # noqa: ANN401 - a convolution
    weight: Tensor,
    *,
    spatial: bool = False,
    groups: int = 1,
    bias: Tensor | None = None,
) -> nn.Module:
    """A convolution of the dense one's class around a weight; ``spatial`` passes on how it walks the image."""
    walk = ("stride", "padding", "dilation", "padding_mode") if spatial else ()
    layer: nn.Module = type(dense)(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        groups=groups,
        bias=bias is not None,
        device="meta",  # no random initialisation, no memory: the tensors are put in below
        **{name: getattr(dense, name) for name in walk},
    )
    _fill(layer, weight, bias, dense)
    return layer


def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None, dense: DenseLayer) -> None:
    """Parameters of the dense layer's type, device and memory format; always copies."""
    model = dense.weight
    own = weight.to(device=model.device, dtype=model.dtype).clone(memory_format=torch.contiguous_format)
    if model.ndim == 4 and not model.is_contiguous() and model.is_contiguous(memory_format=torch.channels_last):  # noqa: PLR2004 - channels_last is for images
        own = own.contiguous(memory_format=torch.channels_last)
    layer.weight = nn.Parameter(own, requires_grad=model.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
