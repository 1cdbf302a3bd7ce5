"""Closed-form layerwise reconstruction: last layers refitted to the outputs of the dense layers they stand for.

After Zhang, Zou, He, Sun, *Accelerating Very Deep Convolutional Networks for Classification and Detection*,
TPAMI 2015: asymmetric, layer by layer in forward order. Features come from the compressed network (as
refitted so far), targets from the dense one, on unlabelled images, so that each layer also makes up for the
errors of those before it.

Shapes: N positions of all images, R features entering the last layer, T output channels.

With z the features, y the dense outputs, ``C = E[(z−z̄)(z−z̄)ᵀ]`` (R, R), ``X = E[(y−ȳ)(z−z̄)ᵀ]`` (T, R), W₀
the factor and ``λ = 1e-3 · mean(diag C)``:

    W = argmin E‖y − W z − b‖² + λ‖W − W₀‖² = (X + λW₀)(C + λI)⁻¹,   b = ȳ − W z̄.

The outputs of a grouped layer depend on the features of their own group alone, so the problem falls apart into one
for each group, with its blocks of C and X and its own λ. A spatial_svd layer ends in a (1 × kw) convolution, which
this refit of 1×1 layers leaves as it is.

Caveat: two passes up to every factorised layer, one in each network; BatchNorm is not re-estimated after it
(seen to cost up to one point on ResNet-20), since the refit aims at the features that the dense statistics
belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.layers import FactorizedLayer, factorized_layers
from proxy.layout import Layout
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
        Images seen, and the layers refitted, in that order.
    """
    kept = list(batches) if iter(batches) is batches else batches
    images = [_first(batch) for batch in kept]
    if not images:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    device = next(model.parameters()).device
    with evaluating(model, dense), torch.no_grad():
        order = _forward_order(model, images[0][:1].to(device))
        refitted = {name: layer for name, layer in order.items() if _ends_pointwise(layer)}
        for name, layer in refitted.items():
            _refit(name, layer, (model, dense), [batch.to(device) for batch in images])
    return sum(len(batch) for batch in images), tuple(refitted)


def _ends_pointwise(layer: FactorizedLayer) -> bool:
    """Whether the last layer mixes channels at one position, as a linear layer does."""
    return isinstance(layer.last, nn.Linear) or set(layer.last.kernel_size) == {1}


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
    layout = Layout.of(last)
    mean_in, mean_out = moments.means
    factors = layout.stack(last.weight).flatten(2).double()
    refitted = torch.stack(
        [
            _ridge(factor, features, targets)
            for factor, features, targets in zip(
                factors, _blocks(moments.covariance, layout.groups), _blocks(moments.cross, layout.groups), strict=True
            )
        ]
    )
    bias = mean_out - torch.einsum("gtr,gr->gt", refitted, mean_in.view(layout.groups, -1)).flatten()
    if not bool(torch.isfinite(refitted).all() and torch.isfinite(bias).all()):
        raise NotFinite("the features are no numbers", layer=name, mend="look for NaN in the images")
    last.weight.copy_(layout.weight(refitted).reshape(last.weight.shape).to(last.weight))
    if last.bias is None:
        last.bias = nn.Parameter(bias.to(last.weight), requires_grad=last.weight.requires_grad)
    else:
        last.bias.copy_(bias.to(last.weight))


def _blocks(matrix: Float[Tensor, "g*I g*J"], groups: int) -> list[Float[Tensor, "I J"]]:
    """The blocks on the diagonal of a matrix cut into groups × groups."""
    return [row.tensor_split(groups, 1)[group] for group, row in enumerate(matrix.tensor_split(groups))]


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
