"""How far a network's outputs are from the dense network's, whatever they are: logits, maps, boxes, embeddings.

Shapes: N images, C channels, the second axis of an output; (N,) counts as one channel.

With y the dense and ŷ the compressed network's output o, over all images and positions,

    d_o = E‖ŷ − y‖² / E‖y − ȳ‖²,

ȳ the mean of each channel of y, and the distance is the mean of d_o over the outputs: the share of the dense outputs'
variance that is not explained any more. 0: nothing differs; 1: no better than a constant. So outputs of any unit weigh
alike, and no labels are needed. An output that never varies has no scale to measure in and is left out; so are outputs
of whole numbers, such as an argmax.

The scale is the dense network's, not a batch's: the distances of batches then compare, and their mean is the distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.inputs import inputs_of
from proxy.modes import evaluating
from proxy.moments import ChannelMoments, rows
from proxy.outputs import float_outputs, output_bytes, paired_outputs

__all__ = ["DenseOutputs", "DistanceTally", "output_distance", "reference_outputs"]

_CONSTANT = 1e-12
"""A variance below this share of the mean square is rounding."""
_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class DenseOutputs:
    """What the dense network answers to some images; made once for all trials of a study.

    Args:
        batches: its answers, batch by batch; None where they would take too much memory.
        network: the dense network, which is asked again where ``batches`` is None.
        variances: of every floating-point output; 0 where it never varies.
    """

    batches: Sequence[Any] | None
    network: nn.Module
    variances: tuple[float, ...]


def reference_outputs(model: nn.Module, validation: Iterable[Any], *, memory: int = _BYTES) -> DenseOutputs:
    """What the dense network answers, as :func:`proxy.score` takes it for its reference.

    Args:
        model: the dense network; run in eval mode, left as it was.
        validation: batches, as :func:`proxy.score` takes them.
        memory: bytes that the answers may take; of more, only their variances are kept.

    Raises:
        MissingInput: there are no images.
    """
    kept: list[Any] | None = []
    scales, held = _Scales(), 0
    with evaluating(model), torch.no_grad():
        for batch in validation:
            outputs = inputs_of(batch).beside(model).into(model)
            scales.add([tensor for _, tensor in float_outputs(outputs)])
            held += output_bytes(outputs)
            if kept is not None:
                kept.append(outputs)
            if held > memory:
                kept = None
    if not held:
        raise MissingInput("there are no images to run the dense network on", expected="at least one batch")
    return DenseOutputs(kept, model, scales.variances())


def output_distance(outputs: object, reference: object, variances: Sequence[float] | None = None) -> Float[Tensor, ""]:
    """The distance of two answers to the same images, in float32; differentiable, so that it can be a loss.

    Args:
        outputs: of the compressed network.
        reference: of the dense one, of the same structure.
        variances: of the dense network's floating-point outputs (:attr:`DenseOutputs.variances`); None: those of
            ``reference`` alone.

    Raises:
        MissingInput: no output varies.
        ShapeMismatch: the answers differ in structure or shapes, or hold no floating-point numbers.
    """
    pairs = paired_outputs(outputs, reference)
    if variances is None:
        scales = _Scales()
        scales.add([wanted for _, _, wanted in pairs])
        variances = scales.variances()
    errors = [(own.float() - wanted.detach().float()).square().mean() for _, own, wanted in pairs]
    shares = [error / variance for error, variance in _scaled(errors, variances)]
    return torch.stack(shares).mean()


class DistanceTally:
    """The distance over batches.

    Args:
        variances: of the dense network's outputs on all images; None: of those seen so far, so that the distances of
            batches compare only within one measurement.
    """

    def __init__(self, variances: Sequence[float] | None) -> None:
        self._variances = variances
        self._scales = _Scales()
        self._errors: list[list[float]] = []
        self._images: list[int] = []

    def add(self, outputs: object, reference: object, images: int) -> None:
        """Take in one batch.

        Raises:
            NotFinite: outputs that are no numbers.
            ShapeMismatch: the answers differ in structure or shapes, or hold no floating-point numbers.
        """
        pairs = paired_outputs(outputs, reference)
        if self._variances is None:
            self._scales.add([wanted for _, _, wanted in pairs])
        errors = [_squared_error(own, wanted.to(own.device)) for _, own, wanted in pairs]
        for (place, own, _), error in zip(pairs, errors, strict=True):
            if not math.isfinite(error):
                raise NotFinite(
                    f"the network's outputs are no numbers{place and f' at {place}'}",
                    got=f"{int((~own.isfinite()).sum())} of {own.numel()}",
                    mend="calibrate the network, raise the ranks, or look for NaN in the images",
                )
        self._errors.append(errors)
        self._images.append(images)

    def value(self) -> float:
        """Over all images so far.

        Raises:
            MissingInput: no output varies.
        """
        values = self.batch_values()
        return sum(value * images for value, images in zip(values, self._images, strict=True)) / sum(self._images)

    def batch_values(self) -> list[float]:
        """Of every batch."""
        variances = self._scales.variances() if self._variances is None else self._variances
        return [_mean(error / variance for error, variance in _scaled(errors, variances)) for errors in self._errors]


class _Scales:
    """The variance of every output, over all images seen."""

    def __init__(self) -> None:
        self._moments: list[ChannelMoments] = []

    def add(self, outputs: Sequence[Tensor]) -> None:
        self._moments = self._moments or [ChannelMoments() for _ in outputs]
        for moments, output in zip(self._moments, outputs, strict=True):
            data = output.detach()
            moments.add(rows(data.unsqueeze(1) if data.ndim == 1 else data, channels_last=False))

    def variances(self) -> tuple[float, ...]:
        found = []
        for moments in self._moments:
            variance, size = float(moments.variance.mean()), float(moments.mean.square().mean())
            found.append(variance if variance > _CONSTANT * (variance + size) else 0.0)
        return tuple(found)


def _squared_error(own: Tensor, wanted: Tensor) -> float:
    """Its mean; subtracted in single precision at least, and summed in double."""
    if own.dtype != torch.float64:
        own, wanted = own.float(), wanted.float()
    return float((own - wanted).square().mean(dtype=torch.float64))


def _scaled(errors: Sequence[Any], variances: Sequence[float]) -> list[tuple[Any, float]]:
    """The errors of the outputs that vary, with their variances."""
    if len(errors) != len(variances):
        raise ShapeMismatch("the variances are not of these outputs", got=len(variances), expected=len(errors))
    varying = [(error, variance) for error, variance in zip(errors, variances, strict=True) if variance > 0]
    if not varying:
        raise MissingInput(
            "the dense network's outputs never vary on these images, so there is no scale to measure a distance in",
            expected="at least one output that is not the same for all images",
            mend="use other images, or the metric 'features'",
        )
    return varying


def _mean(values: Iterator[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)
