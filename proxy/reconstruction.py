"""Closed-form layerwise reconstruction: last layers refitted to the outputs of the dense layers they stand for.

After Zhang, Zou, He, Sun, *Accelerating Very Deep Convolutional Networks for Classification and Detection*,
TPAMI 2015: asymmetric, layer by layer in forward order. Features come from the compressed network (as
refitted so far), targets from the dense one, on unlabelled images, so that each layer also makes up for the
errors of those before it.

Shapes: N positions of all images, R features entering the last layer (its own channels, times the positions of its
kernel where that is no 1×1), T output channels.

With z the features, y the target, ``C = E[(z−z̄)(z−z̄)ᵀ]`` (R, R), ``X = E[(y−ȳ)(z−z̄)ᵀ]`` (T, R), W₀
the factor and ``λ = 1e-3 · mean(diag C)``:

    W = argmin E‖y − W z − b‖² + λ‖W − W₀‖² = (X + λW₀)(C + λI)⁻¹,   b = ȳ − W z̄.

The targets are :mod:`proxy.targets`'.

The outputs of a grouped layer depend on the features of their own group alone, so the problem falls apart into one
for each group, with its blocks of C and X and its own λ.

All images go through the compressed network together: each layer is refitted when they reach it. Where the dense
network's features would take too much memory, the layers are done in portions, a pass for each; and where those of a
single layer would, every layer costs a pass of its own over the batches.

Caveat: BatchNorm is not re-estimated after it (seen to cost up to one point on ResNet-20), since the refit aims at the
features that the dense statistics belong to. A transposed last layer (spatial_svd of one) stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.alternating import add_patches, alternate, can_alternate
from proxy.channel_correction import dense_layer
from proxy.dense_features import DenseFeatures, Footprint, record_dense, recorded_bytes
from proxy.errors import MissingInput, NotFinite
from proxy.hooks import removed_after
from proxy.inputs import Inputs, all_inputs, inputs_of
from proxy.layers import FactorizedLayer, factorized_layers
from proxy.layout import Layout
from proxy.modes import evaluating
from proxy.moments import CrossMoments, blocks
from proxy.patches import Walk
from proxy.surroundings import OperatorOutputs, Surroundings, find_surroundings
from proxy.targets import Sample, Target, at_positions

__all__ = ["reconstruct"]

_RIDGE = 1e-3
_BYTES_AT_ONCE = 2 << 30
"""Of features recorded of the dense network; the compressed one's own come on top."""
_ALIVE = 6
"""So many features of the largest layer's size may be alive in a forward pass."""


def reconstruct(
    model: nn.Module,
    dense: nn.Module | DenseFeatures,
    batches: Iterable[Any],
    *,
    memory: int | None = None,
    sweeps: int = 0,
) -> tuple[int, tuple[str, ...]]:
    """Refit every factorised layer, in forward order, in place.

    Args:
        model: the compressed network.
        dense: the network it came from, or its features on the calibration images, recorded before.
        batches: as :func:`proxy.score` takes them; kept in memory. Not looked at where features are given.
        memory: bytes that the dense network's features may take where they are recorded here; None: 2 GiB.
        sweeps: of :mod:`proxy.alternating` over all layers of a chain, before its last one is refitted.

    Returns:
        Images seen, and the layers refitted, in that order.
    """
    if isinstance(dense, DenseFeatures):
        return _in_one_pass(model, dense, sweeps=sweeps)
    images = [inputs_of(batch) for batch in batches]
    if not images:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    device = next(model.parameters()).device
    count = sum(len(batch) for batch in images)
    sizes = recorded_bytes(dense, images[0][:1], factorized_layers(model), images=count)
    portions = _portions(sizes, count, memory)
    if portions is not None:
        whole = all_inputs(images).to(device)
        done = [_in_one_pass(model, record_dense(dense, [whole], names), names, sweeps)[1] for names in portions]
        return count, tuple(name for part in done for name in part)
    with evaluating(model, dense), torch.no_grad():
        refitted = _refittable(_forward_order(model, images[0][:1].to(device)))
        for name, layer in refitted.items():
            _refit_by_passes(name, layer, (model, dense), [batch.to(device) for batch in images], sweeps)
    return count, tuple(refitted)


def _portions(sizes: Mapping[str, Footprint], images: int, memory: int | None = None) -> list[list[str]] | None:
    """Layers, in their order, whose features may be in memory together; None where those of one are too many.

    Args:
        sizes: bytes of every layer's features of one image.
        images: how many there are.
        memory: bytes that they may take; None: 2 GiB.
    """
    memory = _BYTES_AT_ONCE if memory is None else memory
    if max((size.whole for size in sizes.values()), default=0) * images * _ALIVE > memory:
        return None
    portions: list[list[str]] = []
    held = 0
    for name, size in sizes.items():
        if not portions or held + size.kept * images > memory:
            portions.append([])
            held = 0
        portions[-1].append(name)
        held += size.kept * images
    return portions


def _in_one_pass(
    model: nn.Module, features: DenseFeatures, only: Collection[str] | None = None, sweeps: int = 0
) -> tuple[int, tuple[str, ...]]:
    """Refit the layers as the images reach them; ``only`` some, where those before them are refitted already."""
    every = _refittable(factorized_layers(model))
    layers = {name: layer for name, layer in every.items() if only is None or name in only}
    missing = sorted(set(layers) - set(features.samples))
    images = features.images
    met = find_surroundings(model, images[:1], layers)
    made = OperatorOutputs({found.shortcut for found in met.values() if found.shortcut is not None}, images)
    begun: set[str] = set()
    done: dict[str, None] = {}

    def target(name: str) -> Target:
        if name in missing:
            raise MissingInput("the dense network's features lack a layer", layer=name, got=sorted(features.samples))
        found = met[name]
        got = None if found.shortcut is None else made.kept.get(found.shortcut)
        return Target(features.samples[name], found, got, len(images))

    def sweep(name: str) -> Callable[..., None]:
        def hook(module: FactorizedLayer, args: tuple[Tensor, ...]) -> None:
            if name not in begun:
                begun.add(name)
                with made.paused():
                    moments = CrossMoments()
                    add_patches(moments, module, args[0], target(name))
                    alternate(module, moments, sweeps)

        return hook

    def refit(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if name not in done:
                done[name] = None
                with made.paused():
                    moments = CrossMoments()
                    add_last_features(moments, module, args[0], target(name))
                    _refit(name, module, moments, met[name])

        return hook

    swept = {name: layer for name, layer in layers.items() if sweeps and can_alternate(layer)}
    handles = [layer.register_forward_pre_hook(sweep(name)) for name, layer in swept.items()]
    handles += [layer.last.register_forward_pre_hook(refit(name)) for name, layer in layers.items()]
    with removed_after(handles), evaluating(model), torch.no_grad(), made:
        images.into(model)
    return len(images), tuple(done)


def add_last_features(moments: CrossMoments, last: nn.Module, entering: Tensor, target: Target) -> None:
    """Take in what a last layer mixes at some positions of every image, and the targets there.

    That is its input and, for a kernel beyond 1×1, the patches of it.

    Args:
        moments: of features (N, R) and targets (N, T).
        last: the chain's last layer.
        entering: what enters it.
        target: what should leave it.
    """
    positions = target.positions()
    if isinstance(last, nn.Conv2d) and set(last.kernel_size) != {1}:
        features = Walk([last]).patches(entering, positions)
    else:
        features = at_positions(entering, positions, channels_last=isinstance(last, nn.Linear)).flatten(0, 1)
    moments.add(features, target.rows(positions))


def _refittable(layers: Mapping[str, FactorizedLayer]) -> dict[str, FactorizedLayer]:
    return {name: layer for name, layer in layers.items() if _is_refittable(layer.last)}


def _is_refittable(last: Any) -> bool:  # noqa: ANN401 - a convolution or linear layer
    """Whether its outputs are linear in features that can be read off its input."""
    if isinstance(last, nn.Linear) or set(last.kernel_size) == {1}:
        return True
    return isinstance(last, nn.Conv2d)


def _forward_order(model: nn.Module, image: Inputs) -> dict[str, FactorizedLayer]:
    """The factorised layers in the order of their first call; one that is never called is left out."""
    order: dict[str, FactorizedLayer] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: FactorizedLayer, *_: object) -> None:
            order.setdefault(name, module)

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in factorized_layers(model).items()]
    with removed_after(handles):
        image.into(model)
    return order


class _ReachedError(Exception):
    """The tensor wanted is there: the rest of the forward pass is not needed."""


@contextmanager
def _stopping_at(module: nn.Module, *, at_input: bool) -> Iterator[list[Tensor]]:
    """Keep the module's input or output and end the forward pass there."""
    kept: list[Tensor] = []

    def before(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0])
        raise _ReachedError

    def after(_module: nn.Module, _args: object, output: Tensor) -> None:
        kept.append(output)
        raise _ReachedError

    handle = module.register_forward_pre_hook(before) if at_input else module.register_forward_hook(after)
    try:
        yield kept
    finally:
        handle.remove()


def _reach(
    model: nn.Module, images: Inputs, module: nn.Module, shortcut: int | None, *, at_input: bool
) -> tuple[Tensor, Tensor | None]:
    """What enters or leaves a module, and what is added to its output."""
    wanted = set() if shortcut is None else {shortcut}
    with (
        _stopping_at(module, at_input=at_input) as kept,
        suppress(_ReachedError),
        OperatorOutputs(wanted, images) as made,
    ):
        images.into(model)
    return kept[0], None if shortcut is None else made.kept.get(shortcut)


def _refit_by_passes(
    name: str, layer: FactorizedLayer, models: tuple[nn.Module, nn.Module], images: list[Inputs], sweeps: int
) -> None:
    original = dense_layer(models[1], name)
    own, dense = (find_surroundings(model, images[0][:1], [name])[name] for model in models)
    count = sum(len(batch) for batch in images)

    def met_at(module: nn.Module) -> Iterator[tuple[Tensor, Target]]:
        """What enters a module of the chain, and the target, of one batch after another."""
        for batch in images:
            entering, got = _reach(models[0], batch, module, own.shortcut, at_input=True)
            output, wanted = _reach(models[1], batch, original, dense.shortcut, at_input=False)
            sample = Sample.of(output, wanted, channels_last=isinstance(original, nn.Linear), images=count)
            yield entering, Target(sample, own, got, count)

    if sweeps and can_alternate(layer):
        moments = CrossMoments()
        for entering, target in met_at(layer):
            add_patches(moments, layer, entering, target)
        alternate(layer, moments, sweeps)
    moments = CrossMoments()
    for entering, target in met_at(layer.last):
        add_last_features(moments, layer.last, entering, target)
    _refit(name, layer.last, moments, own)


def _refit(name: str, last: Any, moments: CrossMoments, met: Surroundings) -> None:  # noqa: ANN401 - a convolution or linear layer
    """Give a last layer the weight and bias that fit the moments of its features and targets.

    A layer that had no bias keeps none where the BatchNorm behind it can take it off its running mean: so that the
    network costs what was planned.
    """
    layout = Layout.of(last)
    mean_in, mean_out = moments.means
    factors = layout.stack(last.weight).flatten(2).double()
    refitted = torch.stack(
        [
            _ridge(factor, features, targets)
            for factor, features, targets in zip(
                factors, blocks(moments.covariance, layout.groups), blocks(moments.cross, layout.groups), strict=True
            )
        ]
    )
    bias = mean_out - torch.einsum("gtr,gr->gt", refitted, mean_in.view(layout.groups, -1)).flatten()
    if not bool(torch.isfinite(refitted).all() and torch.isfinite(bias).all()):
        raise NotFinite("the features are no numbers", layer=name, mend="look for NaN in the images")
    stack = layout.stack(last.weight)
    last.weight.copy_(layout.weight(refitted.reshape(stack.shape)).reshape(last.weight.shape).to(last.weight))
    mean = met.norm.running_mean if met.alone and met.norm is not None else None
    if last.bias is not None:
        last.bias.copy_(bias.to(last.weight))
    elif mean is not None:
        mean.sub_(bias.to(mean))
    else:
        last.bias = nn.Parameter(bias.to(last.weight), requires_grad=last.weight.requires_grad)


def _ridge(
    factor: Float[Tensor, "T R"], covariance: Float[Tensor, "R R"], cross: Float[Tensor, "T R"]
) -> Float[Tensor, "T R"]:
    """``(X + λW₀)(C + λI)⁻¹``."""
    ridge = _RIDGE * covariance.diagonal().mean()
    if not float(ridge) > 0:  # features that never vary have nothing to fit: the mean is all there is
        return factor
    damped = covariance + ridge * torch.eye(len(covariance)).to(covariance)
    solution: Tensor = torch.linalg.solve(damped, (cross + ridge * factor).mT).mT
    return solution
