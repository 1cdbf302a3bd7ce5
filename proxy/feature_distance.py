"""How far a compressed network's features are from the dense network's, layer by layer, by their moments.

Shapes: N positions of all images, P channels.

With μ (P) and Σ (P, P) the mean and the covariance over all positions, d of the dense and c of the compressed network,

    d_l = ‖μ_c − μ_d‖² / tr Σ_d + ‖Σ_c − Σ_d‖_F² / ‖Σ_d‖_F²,

and the distance is the mean of d_l over the layers: every convolution and linear layer, at its output or, where that is
handed straight to a BatchNorm, at the BatchNorm's. It needs no labels and no logits. A layer whose dense features never
vary has no scale to measure in and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.followers import following_norms
from proxy.inputs import Inputs, inputs_of
from proxy.modes import evaluating
from proxy.moments import rows
from proxy.sites import layer_kind

__all__ = ["FeatureMoments", "FeatureWatch", "Place", "feature_distance", "feature_moments", "feature_places"]

_ROWS = 1 << 14
"""Rows whose products are summed in float32."""


@dataclass(frozen=True)
class Place:
    """Where a layer's features are taken.

    Args:
        module: whose output they are: the layer itself, or the BatchNorm that follows it.
        channels_last: the channels are the last axis, as in a linear layer's output, not the second.
    """

    module: str
    channels_last: bool


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """The moments of a network's features; of the dense one, computed once for all trials of a study.

    Args:
        places: layer → where its features were taken; layers that are not called are left out.
        moments: layer → mean ``(P,)`` and covariance ``(P, P)`` in float64.
    """

    places: Mapping[str, Place]
    moments: Mapping[str, tuple[Float[Tensor, " P"], Float[Tensor, "P P"]]]


def feature_moments(model: nn.Module, batches: Iterable[Any]) -> FeatureMoments:
    """The moments of the dense network's features on some images.

    Args:
        model: the dense network; run in eval mode, left as it was.
        batches: as :func:`proxy.score` takes them; labels are not used.

    Raises:
        MissingInput: no image, or no convolution and no linear layer that is called.
        NotFinite: features that are no numbers.
    """
    watch: FeatureWatch | None = None
    with evaluating(model), torch.no_grad():
        for batch in batches:
            images = inputs_of(batch).beside(model)
            watch = watch or FeatureWatch(model, feature_places(model, images[:1]))
            with watch:
                images.into(model)
    if watch is None:
        raise MissingInput("there are no images to take features of", expected="at least one batch")
    return watch.moments()


def feature_places(model: nn.Module, image: Tensor | Inputs) -> dict[str, Place]:
    """Layer → where its features are taken, in forward order.

    Args:
        model: the dense network; run once in eval mode.
        image: a batch of one.

    Raises:
        MissingInput: it calls no convolution and no linear layer.
    """
    layers = {name: module for name, module in model.named_modules() if layer_kind(module)}
    places = {
        name: Place(norm or name, channels_last=norm is None and isinstance(layers[name], nn.Linear))
        for name, norm in following_norms(model, image, layers).items()
    }
    if not places:
        raise MissingInput(
            "there are no features to compare",
            got="a network that calls no convolution and no linear layer",
            mend="use the metric 'kl'",
        )
    return places


def feature_distance(dense: FeatureMoments, compressed: FeatureMoments) -> float:
    """The mean distance of two networks' layers; 0 where nothing differs.

    Raises:
        ShapeMismatch: features of another network.
    """
    distances = []
    for name, (mean, covariance) in dense.moments.items():
        other = compressed.moments.get(name)
        if other is None or other[0].shape != mean.shape:
            raise ShapeMismatch(
                "the features to compare are those of another network",
                layer=name,
                got="none" if other is None else f"{len(other[0])} channels",
                expected=f"{len(mean)} channels",
                mend="give the moments of the network that was compressed",
            )
        spread, energy = covariance.trace(), covariance.square().sum()
        if float(energy) > 0:
            away = (other[0].to(mean) - mean).square().sum() / spread
            distances.append(float(away + (other[1].to(covariance) - covariance).square().sum() / energy))
    return sum(distances) / max(len(distances), 1)


class FeatureWatch:
    """Takes in a network's features while it is entered.

    Args:
        model: dense or compressed.
        places: of the dense network.

    Raises:
        ShapeMismatch: the network has no such modules.
    """

    def __init__(self, model: nn.Module, places: Mapping[str, Place]) -> None:
        modules = dict(model.named_modules(remove_duplicate=False))
        missing = sorted({place.module for place in places.values()} - set(modules))
        if missing:
            raise ShapeMismatch(
                "the network lacks modules whose features are to be compared",
                got=f"a network without {missing[:5]}",
                mend="give the moments of the network that was compressed",
            )
        self._places = dict(places)
        self._modules = {name: modules[place.module] for name, place in places.items()}
        self._seen = {name: _Moments() for name in places}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(self._take(name)) for name, module in self._modules.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _take(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            self._seen[name].add(rows(output, channels_last=self._places[name].channels_last))

        return hook

    def moments(self) -> FeatureMoments:
        """The moments over everything seen.

        Raises:
            NotFinite: features that are no numbers.
        """
        found = {name: seen.result() for name, seen in self._seen.items() if seen.count}
        for name, (mean, covariance) in found.items():
            if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
                raise NotFinite(
                    "the features are no numbers",
                    layer=name,
                    mend="calibrate the network, raise the ranks, or look for NaN in the images",
                )
        return FeatureMoments(self._places, found)


class _Moments:
    """Mean and covariance over all rows seen.

    Sums are taken about the first rows' mean and in float64; the products of a few thousand rows at a time in float32,
    unless the features are float64: centred, they lose no more than the features' own rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin = torch.zeros(0)
        self._sum = torch.zeros(0)
        self._square = torch.zeros(0)

    def add(self, features: Float[Tensor, "N P"]) -> None:
        """Take in more rows."""
        for part in torch.split(features, _ROWS):
            data = part if part.dtype == torch.float64 else part.float()
            if not self.count:
                self._origin = data.mean(0)
                self._sum = torch.zeros_like(self._origin, dtype=torch.float64)
                self._square = self._sum.new_zeros(data.shape[1], data.shape[1])
            data = data - self._origin
            self.count += len(data)
            self._sum += data.sum(0).double()
            self._square += (data.mT @ data).double()

    def result(self) -> tuple[Float[Tensor, " P"], Float[Tensor, "P P"]]:
        """Mean and covariance, over N."""
        shift = self._sum / self.count
        return self._origin.double() + shift, self._square / self.count - torch.outer(shift, shift)
