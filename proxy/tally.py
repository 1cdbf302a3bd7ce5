"""Sums over validation images: what each image says about a compressed network.

Shapes: N images, K classes; logits may have further axes (N, K, …), each position then counts as an image.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxy.errors import MissingInput, NotFinite, ShapeMismatch

__all__ = ["Tally"]

_MATRIX = 2  # axes of plain logits: images, classes


class Tally:
    """Running sums over the images seen, in float64.

    Args:
        metric: where it is ``features``, outputs that are no logits (N, K) are counted and otherwise ignored, and so
            are labels that are none of K classes.
        raced: the statistic whose mean over every batch is kept; None for none.

    Attributes:
        count: images seen.
        batch_means: of the statistic that is raced.
    """

    def __init__(self, metric: str, raced: str | None) -> None:
        self.count = 0
        self.batch_means: list[float] = []
        self._metric, self._raced = metric, raced
        self._sums: dict[str, float] = {}

    def means(self) -> dict[str, float]:
        """Statistic → its mean over the images seen, of those that could be measured."""
        return {name: total / self.count for name, total in self._sums.items()}

    def add(self, outputs: object, labels: Tensor | None, reference: object, *, images: int) -> None:
        """Take in one batch.

        Args:
            outputs: the network's.
            labels: of the images; None where there are none.
            reference: the dense network's outputs; None where there are none.
            images: in the batch.
        """
        if self._metric == "features" and not (isinstance(outputs, Tensor) and outputs.ndim == _MATRIX):
            self.count += images
            return
        logits = _checked(outputs)
        flat = logits.movedim(1, -1).flatten(0, -2).double()
        before, counted = self._sums.get(self._raced or "", 0.0), self.count
        self.count += len(flat)
        own = self._labels(flat, labels)
        goal = None if reference is None else self._goal(logits, reference)
        self._compare(flat, goal, own)
        if self._raced is not None:
            self.batch_means.append((self._sums[self._raced] - before) / (self.count - counted))

    def _labels(self, flat: Float[Tensor, "M K"], labels: Tensor | None) -> Tensor | None:
        if labels is None:
            if self._metric in ("accuracy", "loss"):
                raise MissingInput(f"{self._metric} needs labels", mend="give (images, labels), or use metric='kl'")
            return None
        own = labels.to(flat.device).flatten().long()
        if self._metric == "features" and not (len(own) == len(flat) and _are_classes(own, flat.shape[1])):
            return None
        if len(own) != len(flat):
            raise ShapeMismatch("labels and outputs differ in number", got=len(own), expected=len(flat))
        return own

    def _goal(self, logits: Tensor, reference: object) -> Float[Tensor, "M K"]:
        if not isinstance(reference, Tensor) or reference.shape != logits.shape:
            raise ShapeMismatch("the reference's outputs do not fit", got=_shape(reference), expected=_shape(logits))
        return reference.to(logits.device).movedim(1, -1).flatten(0, -2).double()

    def _compare(self, flat: Float[Tensor, "M K"], goal: Tensor | None, labels: Tensor | None) -> None:
        logs, strongest = flat.log_softmax(1), flat.argmax(1)
        if labels is not None:
            self._sum("accuracy", (strongest == labels).double().sum())
            self._sum("loss", functional.nll_loss(logs, labels, reduction="sum"))
        if goal is not None:
            wanted = goal.log_softmax(1)
            self._sum("kl", (wanted.exp() * (wanted - logs)).sum())
            self._sum("agreement", (strongest == goal.argmax(1)).double().sum())
            if labels is not None:
                self._sum("dense_accuracy", (goal.argmax(1) == labels).double().sum())
                self._sum("dense_loss", functional.nll_loss(wanted, labels, reduction="sum"))

    def _sum(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(value)


def _checked(outputs: object) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.ndim < _MATRIX:
        raise ShapeMismatch(
            "the outputs are no logits",
            got=_shape(outputs),
            expected="a tensor (N, K)",
            mend="use the metric 'features', which needs none",
        )
    if not bool(torch.isfinite(outputs).all()):
        raise NotFinite(
            "the network's outputs are no numbers",
            mend="calibrate the network, raise the ranks, or look for NaN in the images",
        )
    return outputs


def _are_classes(labels: Tensor, classes: int) -> bool:
    return bool(((labels >= 0) & (labels < classes)).all())


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
