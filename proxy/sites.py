"""The layers of a model that can be factorised, and the reasons why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from proxy.cache import weight_hash
from proxy.cost import MacCounter, batch_size, run
from proxy.errors import UnsupportedMethod
from proxy.grids import Geometry, GridPoint, rank_grids
from proxy.kernel import refuse_weight
from proxy.layout import ORDINARY, Layout
from proxy.ranks import parse_ranks

__all__ = ["Site", "find_sites", "layer_kind", "static_reasons"]

_KINDS: Mapping[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
    nn.Linear: "linear",
}


@dataclass(frozen=True)
class Site:
    """One convolution or linear layer of a model.

    Args:
        name: qualified module name.
        kind: ``conv1d``, ``conv2d``, ``conv3d``, ``conv_transpose1d`` … or ``linear``.
        weight_shape: of the weight in its own layout (:class:`proxy.Layout`); empty while it has none.
        output_size: spatial size of the output, of the first call; empty for linear layers and layers never called.
        calls: how often one forward pass calls it.
        macs: of one image, all calls together.
        params: of weight and bias.
        weight_hash: for :func:`proxy.factor_key` and ``proxy.compress(hashes=…)``; empty where the weight has no
            entries to read.
        reason_dense: why it stays dense; None where there are grids.
        grids: method → rank grid from cheap to dear; the top, staying dense, is not in the list.
        layout: groups of the layer, and whether it is transposed.
        geometry: what its cost depends on; None while its weight has no shape.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    output_size: tuple[int, ...]
    calls: int
    macs: int
    params: int
    weight_hash: str
    reason_dense: str | None = None
    grids: Mapping[str, list[GridPoint]] = field(default_factory=dict)
    layout: Layout = ORDINARY
    geometry: Geometry | None = None

    def point(self, method: str, ranks: Mapping[str, Any]) -> GridPoint:
        """What the layer costs at ranks of its choice, also such as cost more than the dense layer.

        Raises:
            RankOutOfRange: ranks malformed or out of range.
            UnsupportedMethod: no such method, or a layer without a weight.
        """
        if self.geometry is None:
            raise UnsupportedMethod("the layer has no weight yet", got=self.name, mend="run the network once first")
        return self.geometry.point(method, parse_ranks(method, ranks, self.geometry.kernel_shape))


def find_sites(
    model: nn.Module,
    example_inputs: object,
    *,
    points: int = 16,
    lowest: float = 0.04,
    rank_multiple: int = 1,
) -> list[Site]:
    """Every convolution and linear layer of a model, in the order of its modules.

    Args:
        model: run once in eval mode without gradients; left as it was.
        example_inputs: a tensor, a tuple of arguments or a dict of keyword arguments; any batch size.
        points: most points of a rank grid.
        lowest: fraction of a layer's dense MACs where its grid begins.
        rank_multiple: ranks are multiples of this (8 suits tensor cores).

    Returns:
        Sites, those that stay dense with the reason. A layer called several times counts all its calls.
    """
    reasons = static_reasons(model)
    with MacCounter(model) as counter, _watching(model) as seen:
        run(model, example_inputs)
    batch = batch_size(example_inputs)
    options = {"points": points, "lowest": lowest, "rank_multiple": rank_multiple}
    return [
        _site(
            name,
            module,
            seen[name],
            batch,
            reason=reasons[name] or _seen_reason(name, counter, seen[name]),
            options=options,
        )
        for name, module in _layers(model)
    ]


@dataclass
class _Calls:
    """What one layer was seen doing, over the whole batch; ``extra`` are arguments besides its input."""

    count: int = 0
    extra: int = 0
    before: int = 0
    between: int = 0
    after: int = 0
    output_size: tuple[int, ...] = ()


@contextmanager
def _watching(model: nn.Module) -> Iterator[dict[str, _Calls]]:
    seen = {name: _Calls() for name, _ in _layers(model)}
    handles = [module.register_forward_hook(_watch(seen[name]), with_kwargs=True) for name, module in _layers(model)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _watch(calls: _Calls) -> Callable[[nn.Module, Any, Any, Tensor], None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:  # noqa: ANN401 - torch's signature
        inputs: Tensor = args[0] if args else kwargs["input"]
        spatial = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)  # type: ignore[arg-type]  # convolutions have it
        size_in, size_out = _channels(module)
        calls.count += 1
        calls.extra = max(calls.extra, len(args) + len(kwargs) - 1)
        calls.before += inputs.numel() // size_in
        calls.after += output.numel() // size_out
        if spatial == 2:  # noqa: PLR2004 - the only case with a vertical half
            calls.between += output.numel() // size_out // output.shape[-1] * inputs.shape[-1]
        if calls.count == 1 and spatial:
            calls.output_size = tuple(output.shape[-spatial:])

    return hook


def _channels(module: nn.Module) -> tuple[int, int]:
    """(input, output) channels."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return int(module.in_channels), int(module.out_channels)  # type: ignore[arg-type]  # convolutions have them


def _seen_reason(name: str, counter: MacCounter, calls: _Calls) -> str | None:
    """Why a layer cannot be factorised, as far as the forward pass tells."""
    if name in counter.foreign:
        return "its weight is used by another module, too"
    if calls.count == 0:
        return "it is not called in a forward pass of the example inputs"
    if calls.extra:
        return "it is called with more than its input (output_size), which a chain of layers does not take"
    return None


def _site(
    name: str, module: nn.Module, calls: _Calls, batch: int, *, reason: str | None, options: dict[str, Any]
) -> Site:
    weight: Tensor = module.weight  # type: ignore[assignment]  # every such layer has one
    kind, layout = layer_kind(module), Layout.of(module)
    if is_lazy(weight):
        return Site(name, kind, (), (), 0, 0, 0, "", reason, layout=layout)
    offset: Tensor | None = module._parameters.get("bias")  # noqa: SLF001 - typed, unlike the attribute
    bias = 0 if offset is None else offset.numel()
    positions = (calls.before // batch, calls.between // batch, calls.after // batch)
    geometry = Geometry(tuple(weight.shape), bias, *positions, layout)
    grids = rank_grids(geometry, **options) if reason is None else {}
    if reason is None and not grids:
        reason = "too small: at every rank it would cost as much factorised as it costs dense"
    return Site(
        name=name,
        kind=kind,
        weight_shape=geometry.shape,
        output_size=calls.output_size,
        calls=calls.count,
        macs=geometry.macs,
        params=geometry.params,
        weight_hash=weight_hash(weight) if refuse_weight(weight) is None else "",
        reason_dense=reason,
        grids=grids,
        layout=layout,
        geometry=geometry,
    )


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if layer_kind(module)]


def layer_kind(module: nn.Module) -> str:
    """The kind of a convolution or linear layer; empty for any other module."""
    return next((kind for known, kind in _KINDS.items() if isinstance(module, known)), "")


def static_reasons(model: nn.Module, only: Collection[str] | None = None) -> dict[str, str | None]:
    """Layer name → why it cannot be factorised as far as the modules tell, or None; no forward pass needed.

    Args:
        model: any module.
        only: the layers that are asked about; None: all.
    """
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():  # noqa: SLF001 - unlike parameters(), tells who owns what
            if parameter is not None:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    asked = [(name, module) for name, module in _layers(model) if only is None or name in only]
    return {name: _static_reason(module, owners) for name, module in asked}


def _static_reason(  # noqa: PLR0911 - one return for each reason
    module: nn.Module, owners: Mapping[int, int]
) -> str | None:
    kind = layer_kind(module)
    if parametrize.is_parametrized(module):
        return "its weight is parametrised; remove the parametrisation first"
    weight = module._parameters.get("weight")  # noqa: SLF001 - getattr would also find computed weights
    if weight is None:
        return "its weight is computed by a hook such as weight_norm; remove that first"
    unreadable = refuse_weight(weight)
    if unreadable is not None:
        return unreadable
    if type(module) not in _KINDS:
        return f"it is a subclass of {kind} ({type(module).__name__}) whose forward may do something else"
    if type(weight) is not nn.Parameter:
        return f"its weight is a {type(weight).__name__}, no plain parameter"
    groups = Layout.of(module).groups
    if groups > 1 and groups == _channels(module)[0]:
        return "depthwise: it has no channel mix to factorise"
    if owners[id(weight)] > 1:
        return "it shares its weight with another layer"
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return "it carries hooks, which a replacement would lose"
    if not bool(torch.isfinite(weight.detach()).all()):
        return "its weight holds NaN or infinity"
    return None


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
