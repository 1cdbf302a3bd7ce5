"""Closed-form layerwise reconstruction: last layers refitted to the outputs of the dense layers they stand for.

After Zhang, Zou, He, Sun, *Accelerating Very Deep Convolutional Networks for Classification and Detection*,
TPAMI 2015: asymmetric, layer by layer in forward order. Features come from the compressed network (as
refitted so far), targets from the dense one, on unlabelled images, so that each layer also makes up for the
errors of those before it.

Shapes: N positions of all images, R features entering the last layer, T output channels.

With z the features, y the dense outputs, ``C = E[(z−z̄)(z−z̄)ᵀ]`` (R, R), ``X = E[(y−ȳ)(z−z̄)ᵀ]`` (T, R), W₀
the factor and ``λ = 1e-3 · mean(diag C)``:

    W = argmin E‖y − W z − b‖² + λ‖W − W₀‖² = (X + λW₀)(C + λI)⁻¹,   b = ȳ − W z̄.

Caveat: two passes up to every factorised layer, one in each network; BatchNorm is not re-estimated after it
(seen to cost up to one point on ResNet-20), since the refit aims at the features that the dense statistics
belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.layers import FactorizedLayer, factorized_layers
from proxy.modes import evaluating
from proxy.moments import CrossMoments, rows

__all__ = ["reconstruct"]

_RIDGE = 1e-3


def reconstruct(model: nn.Module, dense: nn.Module, batches: Iterable[Any]) -> tuple[int, tuple[str, ...]]:
    """Refit every factorised layer, in forward order, in place.

    Args:
        model: the compressed network.
        dense: the network it came from.
        batches: tensors of images, or (images, …) tuples; kept in memory if they can be walked only once.

    Returns:
        Images seen, and the layers in the order of their refit.
    """
    kept = list(batches) if iter(batches) is batches else batches
    images = [_first(batch) for batch in kept]
    if not images:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    device = next(model.parameters()).device
    with evaluating(model, dense), torch.no_grad():
        order = _forward_order(model, images[0][:1].to(device))
        for name, layer in order.items():
            _refit(name, layer, (model, dense), [batch.to(device) for batch in images])
    return sum(len(batch) for batch in images), tuple(order)


def _first(batch: Any) -> Tensor:  # noqa: ANN401 - a tensor, or a tuple beginning with one
    data = batch[0] if isinstance(batch, tuple | list) else batch
    if not isinstance(data, Tensor):
        raise ShapeMismatch("a batch holds no images", got=type(data).__name__, expected="a tensor (B, …)")
    return data


def _forward_order(model: nn.Module, image: Tensor) -> dict[str, FactorizedLayer]:
    """The factorised layers in the order of their first call; one that is never called is left out."""
    order: dict[str, FactorizedLayer] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: FactorizedLayer, *_: object) -> None:
            order.setdefault(name, module)

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in factorized_layers(model).items()]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
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


def _reach(model: nn.Module, images: Tensor, module: nn.Module, *, at_input: bool) -> Tensor:
    with _stopping_at(module, at_input=at_input) as kept, suppress(_ReachedError):
        model(images)
    return kept[0]


def _refit(name: str, layer: FactorizedLayer, models: tuple[nn.Module, nn.Module], images: list[Tensor]) -> None:
    last: Any = layer.last
    original = models[1].get_submodule(name)
    flat = isinstance(last, nn.Linear)
    moments = CrossMoments()
    for batch in images:
        features = _reach(models[0], batch, last, at_input=True)
        targets = _reach(models[1], batch, original, at_input=False)
        moments.add(rows(features, channels_last=flat), rows(targets, channels_last=flat))
    spread_horizontally = last.weight[0].numel() != moments.covariance.shape[0]
    if spread_horizontally:
        return  # spatial_svd ends in a (1 × kw) layer, which this refit of 1×1 layers leaves alone
    factor = last.weight.flatten(1).double()
    covariance, cross = moments.covariance, moments.cross
    ridge = _RIDGE * covariance.diagonal().mean()
    if float(ridge) > 0:
        damped = covariance + ridge * torch.eye(len(covariance)).to(covariance)
        refitted = torch.linalg.solve(damped, (cross + ridge * factor).mT).mT
    else:  # features that never vary have nothing to fit: the mean is all there is
        refitted = factor
    mean_in, mean_out = moments.means
    bias = mean_out - refitted @ mean_in
    if not bool(torch.isfinite(refitted).all() and torch.isfinite(bias).all()):
        raise NotFinite("the features are no numbers", layer=name, mend="look for NaN in the images")
    last.weight.copy_(refitted.reshape(last.weight.shape).to(last.weight))
    if last.bias is None:
        last.bias = nn.Parameter(bias.to(last.weight), requires_grad=last.weight.requires_grad)
    else:
        last.bias.copy_(bias.to(last.weight))
