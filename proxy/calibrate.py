"""Putting the feature statistics of a compressed network right, without labels and without gradients.

Decomposition shifts the distribution of the features inside a network, which hides how good the ranks are
(PARS, Sobolev et al., Mathematics 2022). Two levels mend it: ``statistics`` here, ``reconstruction`` in
:mod:`proxy.reconstruction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from proxy.errors import MissingInput, NotFinite, ShapeMismatch, UnsupportedMethod
from proxy.layers import FactorizedLayer, factorized_layers
from proxy.layout import Layout
from proxy.modes import evaluating
from proxy.moments import ChannelMoments, rows
from proxy.reconstruction import reconstruct

__all__ = ["Calibration", "OutputMoments", "calibrate", "output_moments"]

OutputMoments: TypeAlias = Mapping[str, tuple[Float[Tensor, " T"], Float[Tensor, " T"]]]
"""Layer name → mean and standard deviation of every output channel of the dense layer."""


@dataclass(frozen=True)
class Calibration:
    """What a calibration did.

    Args:
        level: ``statistics`` or ``reconstruction``.
        images: calibration images seen.
        batch_norms: names of the BatchNorm layers whose statistics were re-estimated.
        corrected: names of the factorised layers whose outputs were corrected, or whose last layer was refitted:
            all that are called but those by ``spatial_svd``, whose last layer is no 1×1.
    """

    level: str
    images: int
    batch_norms: tuple[str, ...]
    corrected: tuple[str, ...]


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    reference: nn.Module | OutputMoments | None = None,
    level: str = "statistics",
) -> Calibration:
    """Adapt a compressed network to its own features, in place.

    ``statistics``: every BatchNorm's running statistics become the plain average over the calibration batches
    (its own momentum and mode are kept), and every factorised layer that no BatchNorm follows directly has
    its output moments corrected to the dense layer's, ``y' = (y − m_c)/s_c · s_0 + m_0``, folded into the
    last weight and bias. One forward pass: both act on the features of already corrected layers, as BatchNorm
    in training mode does.

    ``reconstruction``: the last layer of every factorised layer is refitted to the dense layer's outputs
    (:mod:`proxy.reconstruction`); BatchNorm keeps the dense network's statistics, which the refit aims at.

    Args:
        model: from :func:`proxy.compress`; changed in place.
        batches: tensors of images, or (images, …) tuples; labels are not used.
        reference: the dense network; for ``statistics`` its :func:`output_moments` will do. Not needed by
            ``statistics`` where every factorised layer has its BatchNorm.
        level: ``statistics`` or ``reconstruction``.

    Raises:
        MissingInput: no batch, or a reference is needed.
        NotFinite: features that are no numbers.
        UnsupportedMethod: no such level.
    """
    if level == "reconstruction":
        if not isinstance(reference, nn.Module):
            raise MissingInput("reconstruction needs the dense network", mend="pass reference=model")
        images, corrected = reconstruct(model, reference, batches)
        return Calibration(level, images, (), corrected)
    if level != "statistics":
        raise UnsupportedMethod(
            "there is no such calibration", got=repr(level), expected="'statistics' or 'reconstruction'"
        )
    return _statistics(model, batches, reference)


def _statistics(model: nn.Module, batches: Iterable[Any], reference: nn.Module | OutputMoments | None) -> Calibration:
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    layers = _unfollowed(model, images_of(first, model)[:1])
    if layers and reference is None:
        raise MissingInput(
            "layers that no BatchNorm follows are corrected to the dense network's output moments",
            got=f"no reference, and the layers {sorted(layers)}",
            mend="pass reference=model, or its output_moments",
        )
    dense = reference if isinstance(reference, nn.Module) and layers else None
    moments = reference if isinstance(reference, Mapping) else {}
    correction = _Correction(layers, moments, dense)
    images = 0
    with evaluating(model, *([dense] if dense else [])), torch.no_grad():
        with _reestimating(model) as norms, correction.active():
            for batch in _chain(first, stream):
                data = images_of(batch, model)
                images += len(data)
                if dense is not None:
                    dense(data)
                model(data)
        correction.fold()
    for name, norm in norms.items():
        _check_finite(name, norm.running_mean, norm.running_var)
    return Calibration("statistics", images, tuple(norms), tuple(layers))


def _check_finite(name: str, *tensors: Tensor | None) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor is not None):
        raise NotFinite(
            "the features are no numbers after calibration",
            layer=name,
            mend="look for NaN in the images; if there is none, the ranks make the network overflow: raise them",
        )


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - batches as the caller has them
    yield first
    yield from rest


def images_of(batch: Any, model: nn.Module) -> Tensor:  # noqa: ANN401 - a tensor, or a tuple beginning with one
    """The images of a batch, on the model's device."""
    data = batch[0] if isinstance(batch, tuple | list) else batch
    if not isinstance(data, Tensor) or data.ndim == 0:
        raise ShapeMismatch("a batch holds no images", got=type(data).__name__, expected="a tensor (B, …)")
    parameter = next(model.parameters(), None)
    return data if parameter is None else data.to(parameter.device)


@contextmanager
def _reestimating(model: nn.Module) -> Iterator[dict[str, _BatchNorm]]:
    """BatchNorms in training mode with a cumulative average from scratch; momentum and counters as before after it."""
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None
    }
    before = []
    for norm in norms.values():
        counter = norm.num_batches_tracked
        before.append((norm, norm.momentum, None if counter is None else counter.clone()))
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    try:
        yield norms
    finally:
        for norm, momentum, counter in before:
            norm.momentum, norm.training = momentum, False
            norm.num_batches_tracked = counter


def _unfollowed(model: nn.Module, image: Tensor) -> dict[str, FactorizedLayer]:
    """The factorised layers, in forward order, whose output is not handed straight to a BatchNorm.

    Seen by identity: the very tensor that the layer returned must be the input of a BatchNorm.
    """
    layers = factorized_layers(model)
    outputs: dict[int, tuple[str, Tensor]] = {}  # the tensors are held, so that no id is used twice
    followed: set[str] = set()
    order: dict[str, None] = {}

    def leave(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            outputs[id(output)] = name, output
            order[name] = None

        return hook

    def enter(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and id(args[0]) in outputs:
            followed.add(outputs[id(args[0])][0])

    handles = [layer.register_forward_hook(leave(name)) for name, layer in layers.items()]
    handles += [module.register_forward_pre_hook(enter) for module in model.modules() if isinstance(module, _BatchNorm)]
    try:
        with evaluating(model), torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return {name: layers[name] for name in order if name not in followed}


class _Correction:
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
        handles = [layer.register_forward_hook(self._correct(name)) for name, layer in self._layers.items()]
        if self._dense is not None:
            handles += [
                _dense_layer(self._dense, name).register_forward_hook(self._watch(name)) for name in self._layers
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
            _check_finite(name, scale, shift)
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


def _dense_layer(dense: nn.Module, name: str) -> nn.Module:
    try:
        return dense.get_submodule(name)
    except AttributeError:
        raise MissingInput(
            "the reference has no such layer", layer=name, mend="pass the network that was compressed"
        ) from None


def output_moments(
    model: nn.Module, batches: Iterable[Any], names: Iterable[str]
) -> dict[str, tuple[Float[Tensor, " T"], Float[Tensor, " T"]]]:
    """Mean and standard deviation of every output channel of some dense layers.

    Computed once per study, they serve all its trials.

    Args:
        model: the dense network; run in eval mode, left as it was.
        batches: the calibration batches.
        names: the layers, such as all sites that are not left dense.
    """
    seen = {name: ChannelMoments() for name in names}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: object, output: Tensor) -> None:
            seen[name].add(rows(output, channels_last=isinstance(module, nn.Linear)))

        return hook

    handles = [_dense_layer(model, name).register_forward_hook(watch(name)) for name in seen]
    try:
        with evaluating(model), torch.no_grad():
            for batch in batches:
                model(images_of(batch, model))
    finally:
        for handle in handles:
            handle.remove()
    return {name: (moments.mean, moments.variance.sqrt()) for name, moments in seen.items() if moments.count}
