"""Putting the feature statistics of a compressed network right, without labels and without gradients.

Decomposition shifts the distribution of the features inside a network, which hides how good the ranks are
(PARS, Sobolev et al., Mathematics 2022). Two levels mend it: ``statistics`` here, ``reconstruction`` in
:mod:`proxy.reconstruction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from proxy.channel_correction import ChannelCorrection, OutputMoments, check_finite, dense_layer, unfollowed
from proxy.dense_features import DenseFeatures
from proxy.errors import MissingInput, UnsupportedMethod
from proxy.inputs import inputs_of
from proxy.modes import evaluating
from proxy.moments import ChannelMoments, rows
from proxy.reconstruction import reconstruct

__all__ = ["Calibration", "OutputMoments", "calibrate", "output_moments"]


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
    reference: nn.Module | OutputMoments | DenseFeatures | None = None,
    level: str = "statistics",
    memory: int | None = None,
    sweeps: int = 0,
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
        batches: as :func:`proxy.score` takes them; labels are not used.
        reference: the dense network; for ``statistics`` its :func:`output_moments` will do, for
            ``reconstruction`` its :func:`record_dense`. Not needed by ``statistics`` where every factorised layer
            has its BatchNorm.
        level: ``statistics`` or ``reconstruction``.
        memory: bytes that the dense network's features may take, where ``reconstruction`` records them; with few, it
            takes more passes over the batches, which then never meet in memory. None: 2 GiB.
        sweeps: with ``reconstruction``, so often all layers of every chain are refitted in turn before its last one is
            (:mod:`proxy.alternating`): slower, and more accurate. Two take most of what there is to be had.

    Raises:
        MissingInput: no batch, or a reference is needed.
        NotFinite: features that are no numbers.
        UnsupportedMethod: no such level.
    """
    if level == "reconstruction":
        if not isinstance(reference, nn.Module | DenseFeatures):
            raise MissingInput(
                "reconstruction needs the dense network", mend="pass reference=model, or its record_dense"
            )
        images, corrected = reconstruct(model, reference, batches, memory=memory, sweeps=sweeps)
        return Calibration(level, images, (), corrected)
    if level != "statistics" or isinstance(reference, DenseFeatures):
        raise UnsupportedMethod(
            "there is no such calibration", got=repr(level), expected="'statistics' or 'reconstruction'"
        )
    return _statistics(model, batches, reference)


def _statistics(model: nn.Module, batches: Iterable[Any], reference: nn.Module | OutputMoments | None) -> Calibration:
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise MissingInput("there are no calibration images", expected="at least one batch")
    layers = unfollowed(model, inputs_of(first).beside(model)[:1])
    if layers and reference is None:
        raise MissingInput(
            "layers that no BatchNorm follows are corrected to the dense network's output moments",
            got=f"no reference, and the layers {sorted(layers)}",
            mend="pass reference=model, or its output_moments",
        )
    dense = reference if isinstance(reference, nn.Module) and layers else None
    moments = reference if isinstance(reference, Mapping) else {}
    correction = ChannelCorrection(layers, moments, dense)
    images = 0
    with evaluating(model, *([dense] if dense else [])), torch.no_grad():
        with _reestimating(model) as norms, correction.active():
            for batch in _chain(first, stream):
                data = inputs_of(batch).beside(model)
                images += len(data)
                if dense is not None:
                    data.into(dense)
                data.into(model)
        correction.fold()
    for name, norm in norms.items():
        check_finite(name, norm.running_mean, norm.running_var)
    return Calibration("statistics", images, tuple(norms), tuple(layers))


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - batches as the caller has them
    yield first
    yield from rest


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

    handles = [dense_layer(model, name).register_forward_hook(watch(name)) for name in seen]
    try:
        with evaluating(model), torch.no_grad():
            for batch in batches:
                inputs_of(batch).beside(model).into(model)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (moments.mean, moments.variance.sqrt()) for name, moments in seen.items() if moments.count}
