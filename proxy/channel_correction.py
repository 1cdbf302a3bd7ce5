"""Bringing the outputs of factorised layers back to the dense layers' moments, channel by channel.

For layers that no BatchNorm follows: ``y' = (y − m_c)/s_c · s_0 + m_0`` per output channel, m and s the mean and
standard deviation of the compressed (c) and the dense (0) layer's outputs, folded into the last weight and bias. Where
a BatchNorm does follow, re-estimating its statistics comes to the same.

Shapes: N positions of all images, T output channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import MissingInput, NotFinite
from proxy.followers import following_norms
from proxy.inputs import Inputs
from proxy.layers import FactorizedLayer, factorized_layers
from proxy.layout import Layout
from proxy.moments import ChannelMoments, rows

__all__ = ["ChannelCorrection", "OutputMoments", "check_finite", "dense_layer", "unfollowed"]

OutputMoments: TypeAlias = Mapping[str, tuple[Float[Tensor, " T"], Float[Tensor, " T"]]]
"""Layer name → mean and standard deviation of every output channel of the dense layer."""


def unfollowed(model: nn.Module, image: Tensor | Inputs) -> dict[str, FactorizedLayer]:
    """The factorised layers, in forward order, whose output is not handed straight to a BatchNorm."""
    layers = factorized_layers(model)
    return {name: layers[name] for name, norm in following_norms(model, image, layers).items() if norm is None}


class ChannelCorrection:
    """Per-channel correction of some layers' outputs while batches pass, and its folding into the weights.

    While active, each layer's output leaves it with the dense layer's moments, as if a BatchNorm in training mode
    stood there, so that later layers see corrected features in the same pass. Folded in are the moments over all
    batches.
    """

    def __init__(self, layers: Mapping[str, FactorizedLayer], moments: OutputMoments, dense: nn.Module | None) -> None:
        missing = [name for name in layers if dense is None and name not in moments]
        if missing:
            raise MissingInput("the output moments lack layers", got=sorted(moments), expected=sorted(layers))
        self._layers, self._moments, self._dense = layers, moments, dense
        self._seen = {name: ChannelMoments() for name in layers}
        self._targets = {name: ChannelMoments() for name in layers}
        self._batch: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """While batches pass."""
        handles = [layer.register_forward_hook(self._correct(name)) for name, layer in self._layers.items()]
        if self._dense is not None:
            handles += [
                dense_layer(self._dense, name).register_forward_hook(self._watch(name)) for name in self._layers
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: object, output: Tensor) -> None:
            data = rows(output, channels_last=isinstance(module, nn.Linear))
            self._targets[name].add(data)
            self._batch[name] = _mean_std(data)

        return hook

    def _correct(self, name: str) -> Callable[..., Tensor]:
        def hook(module: FactorizedLayer, _args: object, output: Tensor) -> Tensor:
            last = isinstance(module.last, nn.Linear)
            data = rows(output, channels_last=last)
            self._seen[name].add(data)
            goal = self._moments[name] if self._dense is None else self._batch[name]
            scale, shift = _affine(
                _mean_std(data), (goal[0].to(data.device).double(), goal[1].to(data.device).double())
            )
            shape = [-1] if last else [-1, *(1 for _ in range(output.ndim - 2))]
            return output * scale.to(output).view(shape) + shift.to(output).view(shape)

        return hook

    def fold(self) -> None:
        """Write the corrections into the last layers."""
        for name, layer in self._layers.items():
            seen, target = self._seen[name], self._targets[name]
            if self._dense is None:
                goal = self._moments[name][0].to(seen.mean), self._moments[name][1].to(seen.mean)
            else:
                goal = target.mean, target.variance.sqrt()
            scale, shift = _affine((seen.mean, seen.variance.sqrt()), goal)
            check_finite(name, scale, shift)
            _fold(layer.last, scale, shift)


def _mean_std(data: Float[Tensor, "N T"]) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    wide = data.double()
    return wide.mean(0), wide.var(0, correction=0).sqrt()


def _affine(now: tuple[Tensor, Tensor], goal: tuple[Tensor, Tensor]) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """(scale, shift) that turn the moments ``now`` into ``goal``.

    A channel that is constant where the dense one is not carries no signal to amplify: only its mean is
    corrected.
    """
    alive = now[1] > _DEAD * goal[1]
    scale = torch.where(alive, goal[1] / torch.where(alive, now[1], torch.ones_like(now[1])), torch.ones_like(now[1]))
    return scale, goal[0] - scale * now[0]


_DEAD = 1e-3
"""A standard deviation below this share of the dense one's counts as none: a thousandfold gain would amplify noise."""


def _fold(last: Any, scale: Float[Tensor, " T"], shift: Float[Tensor, " T"]) -> None:  # noqa: ANN401 - a convolution or linear layer
    """``W ← diag(scale) W``, ``b ← scale·b + shift``; a layer without a bias gets one."""
    weight: Tensor = last.weight
    layout = Layout.of(last)  # the output channels are the first axis of a group's kernel, in whatever layer
    stack = layout.stack(weight.double())
    per_channel = scale.view(layout.groups, -1, *(1 for _ in range(stack.ndim - 2)))
    weight.copy_(layout.weight(stack * per_channel).to(weight))
    if last.bias is None:
        last.bias = nn.Parameter(shift.to(weight), requires_grad=weight.requires_grad)
    else:
        last.bias.copy_((last.bias.double() * scale + shift).to(weight))


def check_finite(name: str, *tensors: Tensor | None) -> None:
    """Nothing, where a layer's new numbers are numbers.

    Raises:
        NotFinite: they are not.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor is not None):
        raise NotFinite(
            "the features are no numbers after calibration",
            layer=name,
            mend="look for NaN in the images; if there is none, the ranks make the network overflow: raise them",
        )


def dense_layer(dense: nn.Module, name: str) -> nn.Module:
    """The layer of this name in the reference.

    Raises:
        MissingInput: there is none.
    """
    try:
        return dense.get_submodule(name)
    except AttributeError:
        raise MissingInput(
            "the reference has no such layer", layer=name, mend="pass the network that was compressed"
        ) from None
