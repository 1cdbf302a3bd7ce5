"""All layers of a chain refitted to a dense layer's outputs: alternating least squares in the metric of its data.

A decomposition makes the *weight's* error small; what counts is the error of the outputs, on features that are far
from white. Denton, Zaremba, Bruna, LeCun, Fergus, *Exploiting Linear Structure Within Convolutional Networks for
Efficient Evaluation*, NIPS 2014 (section 3.1) weigh the error with the covariance of a layer's input. Here the
features are the compressed network's and the targets the dense network's, as in :mod:`proxy.reconstruction`.

Shapes, of one group: N positions, S input and T output channels, a kernel of D entries, P = S·D, factors f₁ … f_m.

With x the patches that the kernel sees, y the targets, ``X = E[(x−x̄)(x−x̄)ᵀ]`` (P, P), ``Y = E[(y−ȳ)(x−x̄)ᵀ]``
(T, P) and W(f₁, …, f_m) (T, P) the kernel that the chain's weights multiply out to:

    E‖y − ȳ − W (x−x̄)‖² = tr(W X Wᵀ) − 2 tr(W Yᵀ) + const.

W is linear in every factor, ``W = J f``, and with the others fixed the best change of it is a ridge regression,

    Jᵀ(J d · X) + λ d = Jᵀ(Y − W X),   f ← f + d,   λ = 1e-3 · ⟨J f · X, J f⟩ / ‖f‖²,

solved by a few steps of conjugate gradients, none of which needs a matrix larger than X, or at once where the factor is
the last one and a matrix. The factors take turns, the last one first. X and Y take one look at the images, and a sweep
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.layers import FactorizedLayer
from proxy.layout import Layout
from proxy.moments import CrossMoments, blocks
from proxy.patches import Walk
from proxy.targets import Target, at_positions

__all__ = ["add_patches", "alternate", "can_alternate", "patch_entries", "refit_last"]

_RIDGE: Final = 1e-3
_STEPS: Final = 10
"""Of conjugate gradients, for one factor in one sweep."""
_CONVERGED: Final = 1e-8
"""Of the squared residual that they began with."""
_ROWS: Final = 1 << 14
_ROWS_AN_ENTRY: Final = 8
"""Positions looked at, of all images together, and of each entry of a patch, at least. Neighbours tell much the same:
four times as many left as many of ResNet-20's images right (82.7 and 83.0 %, in place of 82.4 and 83.2)."""
_AT_ONCE: Final = 1 << 24
"""Entries of patches in memory."""
_EQUATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "svd": ("rs", "tr"),
    "spatial_svd": ("rsh", "trw"),
    "tucker2": ("as", "bahw", "tb"),
    "cp3": ("rs", "rhw", "tr"),
    "tucker2_cp3": ("as", "ra", "rhw", "br", "tb"),
}
"""Method → the axes of every weight of its chain in one group; the kernel's are t, s, h, w."""


def can_alternate(layer: FactorizedLayer) -> bool:
    """Whether it stands for a linear layer or a convolution of two axes; others, and transposed ones, it does not."""
    return layer.method in _EQUATIONS and all(isinstance(link, nn.Linear | nn.Conv2d) for link in layer)


def patch_entries(dense: nn.Module) -> int:
    """P of all groups of a layer that :func:`can_alternate` takes."""
    weight: Tensor = dense._parameters["weight"]  # type: ignore[assignment]  # noqa: SLF001 - every such layer has one
    return Layout.of(dense).groups * weight[0].numel()


def add_patches(moments: CrossMoments, layer: FactorizedLayer, entering: Tensor, target: Target) -> None:
    """Take in what the kernel sees at some positions of every image, and the targets there.

    Args:
        moments: of patches (N, groups·P) and targets (N, T).
        layer: the chain.
        entering: what enters it, (B, S, H, W) or, for a linear layer, (B, …, S).
        target: what should leave it.
    """
    if isinstance(layer.last, nn.Linear):
        positions = target.positions(max(_ROWS, _ROWS_AN_ENTRY * entering.shape[-1]))
        moments.add(at_positions(entering, positions, channels_last=True).flatten(0, 1), target.rows(positions))
        return
    walk = Walk(layer)
    entries = walk.entries * entering.shape[1]
    positions = target.positions(max(_ROWS, _ROWS_AN_ENTRY * entries))
    size = max(1, _AT_ONCE // (entries * len(positions)))
    wanted = torch.split(target.rows(positions), size * len(positions))
    for part, goal in zip(torch.split(entering, size), wanted, strict=True):
        moments.add(walk.patches(part, positions), goal)


def alternate(layer: FactorizedLayer, moments: CrossMoments, sweeps: int) -> None:
    """Refit all weights of a chain in place; its bias stays as it is.

    Args:
        layer: the chain.
        moments: of all its patches and targets, see :func:`add_patches`.
        sweeps: turns of every factor.
    """
    groups = Layout.of(layer.last).groups
    stacks = [_by_group(link, groups) for link in layer]
    refitted = []
    for group, (covariance, cross) in enumerate(
        zip(blocks(moments.covariance, groups), blocks(moments.cross, groups), strict=True)
    ):
        chain = _Chain(layer.method, [stack[group].double() for stack in stacks])
        chain.fit(covariance, cross, sweeps)
        refitted.append(chain.weights)
    for stack, parts in zip(stacks, zip(*refitted, strict=True), strict=True):
        stack.copy_(torch.stack(parts))  # a view of the layer's own


def refit_last(layer: FactorizedLayer, moments: CrossMoments) -> None:
    """Refit the last weight of a chain in place, and its bias: what :mod:`proxy.reconstruction` does to it alone.

    There the moments are those of the features that enter the last layer, and every chain has its own. Here they are of
    what the whole chain sees, so that chains of any ranks share them.

    Args:
        layer: the chain; one that :func:`can_alternate` takes.
        moments: of its patches and targets, see :func:`add_patches`.
    """
    groups = Layout.of(layer.last).groups
    stacks = [_by_group(link, groups) for link in layer]
    mean_in, mean_out = moments.means
    centred, refitted = [], []
    both = zip(blocks(moments.covariance, groups), blocks(moments.cross, groups), strict=True)
    for group, (covariance, cross) in enumerate(both):
        chain = _Chain(layer.method, [stack[group].double() for stack in stacks])
        chain.fit_last(covariance, cross)
        refitted.append(chain.weights[-1])
        centred.append(chain.kernel @ mean_in.tensor_split(groups)[group])
    stacks[-1].copy_(torch.stack(refitted))  # a view of the layer's own
    bias = (mean_out - torch.cat(centred)).to(stacks[-1])
    last = layer.last
    if last.bias is None:
        last.bias = nn.Parameter(bias, requires_grad=False)
    else:
        last.bias.data.copy_(bias)


class _Chain:
    """The factors of one group, and the kernel that they multiply out to.

    Args:
        method: of the chain.
        weights: of its layers, (O, I, k…) or, of a depthwise one, (R, 1, k…).
    """

    def __init__(self, method: str, weights: list[Tensor]) -> None:
        self._axes = _EQUATIONS[method]
        self._kernel = "ts" if method == "svd" else "tshw"
        self._shapes = [weight.shape for weight in weights]
        self._factors = [_without_ones(weight, axes) for weight, axes in zip(weights, self._axes, strict=True)]
        self._sizes = {
            axis: size
            for axes, factor in zip(self._axes, self._factors, strict=True)
            for axis, size in zip(axes, factor.shape, strict=True)
        }

    @property
    def weights(self) -> list[Tensor]:
        """The factors in the shapes of the layers' weights."""
        return [factor.reshape(shape) for factor, shape in zip(self._factors, self._shapes, strict=True)]

    def fit(self, covariance: Float[Tensor, "P P"], cross: Float[Tensor, "T P"], sweeps: int) -> None:
        """Let every factor take its turn, so many times, the last one first."""
        for _ in range(sweeps):
            self.fit_last(covariance, cross)
            if self._last_walks:
                self._turns(len(self._factors) - 2, covariance, cross)
            else:
                self._turns_before_the_matrix(covariance, cross)

    def fit_last(self, covariance: Float[Tensor, "P P"], cross: Float[Tensor, "T P"]) -> None:
        """The last factor's turn."""
        if self._last_walks:
            self._turn(len(self._factors) - 1, covariance, cross)
        else:
            self._turn_of_the_matrix(covariance, cross)

    @property
    def kernel(self) -> Float[Tensor, "T P"]:
        """What the chain's weights multiply out to."""
        return self._product(0, self._factors[0])

    @property
    def _last_walks(self) -> bool:
        """Whether the last factor is no matrix, as spatial_svd's."""
        return self._factors[-1].ndim > 2  # noqa: PLR2004 - a matrix's axes

    def _turns(self, first: int, covariance: Tensor, cross: Tensor) -> None:
        for number in reversed(range(first + 1)):
            self._turn(number, covariance, cross)

    def _turn_of_the_matrix(self, covariance: Tensor, cross: Tensor) -> None:
        """Of a last factor F, (T, B): with ``W = F M`` its ridge regression is on M x, of B features."""
        *others, final = self._factors
        axes = ",".join(self._axes[:-1])
        mixed = torch.einsum(f"{axes}->{self._axes[-1][1]}{self._kernel[1:]}", *others).flatten(1)
        inner = mixed @ covariance @ mixed.mT
        residual = cross @ mixed.mT - final @ inner
        energy = float((final @ inner * final).sum())
        if energy > 0:  # what never varies has nothing to fit
            ridge = _RIDGE * energy / float(final.square().sum())
            damped = inner + ridge * torch.eye(len(inner)).to(inner)
            self._factors[-1] = final + torch.linalg.solve(damped, residual.mT).mT

    def _turns_before_the_matrix(self, covariance: Tensor, cross: Tensor) -> None:
        """Of the others: with ``F = Q R`` the error is ``‖R M x − Qᵀ y‖²``, and what no M changes."""
        final = self._factors[-1]
        basis, self._factors[-1] = torch.linalg.qr(final)
        self._sizes["t"] = len(self._factors[-1])
        self._turns(len(self._factors) - 2, covariance, basis.mT @ cross)
        self._factors[-1], self._sizes["t"] = final, len(final)

    def _turn(self, number: int, covariance: Tensor, cross: Tensor) -> None:
        factor = self._factors[number]
        own = self._product(number, factor)
        energy = float((own @ covariance * own).sum())
        if not energy > 0:  # what never varies has nothing to fit
            return
        ridge = _RIDGE * energy / float(factor.square().sum())
        residual = self._adjoint(number, cross - own @ covariance)
        change, direction = torch.zeros_like(factor), residual.clone()
        before = start = float(residual.square().sum())
        for _ in range(_STEPS):
            if before <= _CONVERGED * start:
                break
            image = self._adjoint(number, self._product(number, direction) @ covariance) + ridge * direction
            step = before / float((direction * image).sum())
            change += step * direction
            residual = residual - step * image
            after = float(residual.square().sum())
            direction = residual + after / before * direction
            before = after
        self._factors[number] = factor + change

    def _product(self, number: int, factor: Tensor) -> Float[Tensor, "T P"]:
        """J of a factor: the kernel with ``factor`` in its place."""
        factors = [factor if at == number else other for at, other in enumerate(self._factors)]
        return torch.einsum(f"{','.join(self._axes)}->{self._kernel}", *factors).flatten(1)

    def _adjoint(self, number: int, kernel: Float[Tensor, "T P"]) -> Tensor:
        """Jᵀ of a kernel: the gradient by the factor of its inner product with the chain's own."""
        # From both ends inwards: so every factor shares an axis with what is there, and nothing grows.
        others = [*range(number), *reversed(range(number + 1, len(self._factors)))]
        axes = [self._kernel, *(self._axes[at] for at in others)]
        whole = kernel.reshape([self._sizes[axis] for axis in self._kernel])
        return torch.einsum(f"{','.join(axes)}->{self._axes[number]}", whole, *(self._factors[at] for at in others))


def _without_ones(weight: Float[Tensor, "O I *k"], axes: str) -> Tensor:
    """A weight without the axes that its layer needs and the product does not, all of size 1."""
    has = {"h": 2, "w": 3}
    outer = 1 if axes == "rhw" else 2  # a depthwise layer's weight has one input channel
    return weight.reshape([*weight.shape[:outer], *(weight.shape[has[axis]] for axis in axes if axis in has)])


def _by_group(link: nn.Module, groups: int) -> Float[Tensor, "g O I *k"]:
    weight: Tensor = link._parameters["weight"]  # type: ignore[assignment]  # noqa: SLF001 - every link has one
    return weight.detach().view(groups, -1, *weight.shape[1:])
