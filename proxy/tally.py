"""Sums over validation images: what each image says about a compressed network.

Shapes: N images, K classes, M positions of all images; scores may have further axes (N, K, …), and an image's value is
then the mean over its positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxy.errors import MissingInput, NotFinite, ShapeMismatch
from proxy.output_distance import DistanceTally
from proxy.outputs import float_outputs, output_tensors

__all__ = ["Tally"]

_MATRIX = 2  # axes of plain logits: images, classes
_WITHOUT_SCORES = ("features", "outputs")


class Tally:
    """Running sums over the images seen, in float64.

    Args:
        metric: what of the outputs is looked at. ``accuracy`` and ``loss``: the first, whose classes the labels are;
            ``kl``: all floating-point ones, each of which must be class scores. ``features`` and ``outputs`` take any,
            and tell of scores only where the one output is logits (N, K).
        raced: the statistic whose mean over every batch is kept; None for none.
        variances: for ``outputs``, of the dense network's; None: as far as seen.

    Attributes:
        count: images seen.
        metric: as given.
    """

    def __init__(self, metric: str, raced: str | None, variances: Sequence[float] | None = None) -> None:
        self.count = 0
        self.metric, self._raced = metric, raced
        self._sums: dict[str, float] = {}
        self._batch_means: list[float] = []
        self._distance = DistanceTally(variances) if metric == "outputs" else None

    def means(self) -> dict[str, float]:
        """Statistic → its mean over the images seen, of those that could be measured."""
        means = {name: total / self.count for name, total in self._sums.items()}
        return means if self._distance is None else means | {"outputs": self._distance.value()}

    def batch_means(self) -> list[float]:
        """Of every batch, the mean of the statistic that is raced."""
        if self._raced == "outputs" and self._distance is not None:
            return self._distance.batch_values()
        return list(self._batch_means)

    def add(self, outputs: object, labels: Tensor | None, reference: object, *, images: int) -> None:
        """Take in one batch.

        Args:
            outputs: the network's, of any structure.
            labels: of the images; None where there are none.
            reference: the dense network's outputs; None where there are none.
            images: in the batch.

        Raises:
            MissingInput: labels are needed, or a scale.
            NotFinite: outputs that are no numbers.
            ShapeMismatch: outputs that are no scores where scores are needed; a reference or labels that do not fit.
        """
        if self._distance is not None:
            self._distance.add(outputs, reference, images)
        self.count += images
        scores = self._scores(outputs)
        if not scores:
            return
        goals = self._goals(scores, reference)
        before = self._sums.get(self._raced or "", 0.0)
        for (place, logits), goal in zip(scores, goals, strict=True):
            flat = _flat(logits)
            own = self._labels(flat, labels, place) if len(scores) == 1 else None
            self._compare(flat, goal, own, images / len(scores))
        if self._raced is not None and self._distance is None:
            self._batch_means.append((self._sums[self._raced] - before) / images)

    def _scores(self, outputs: object) -> list[tuple[str, Tensor]]:
        """The outputs that are compared as class scores."""
        found = float_outputs(outputs)
        if self.metric in _WITHOUT_SCORES:
            plain = len(found) == 1 and found[0][1].ndim == _MATRIX and found[0][1].shape[1] > 1
            return found if plain and bool(torch.isfinite(found[0][1]).all()) else []
        found = found if self.metric == "kl" else found[:1]
        if not found:
            raise _no_scores(outputs, "")
        for place, tensor in found:
            if tensor.ndim < _MATRIX or tensor.shape[1] < 2:  # noqa: PLR2004 - of one class every image is
                raise _no_scores(outputs, place)
            if not bool(torch.isfinite(tensor).all()):
                raise NotFinite(
                    "the network's outputs are no numbers",
                    mend="calibrate the network, raise the ranks, or look for NaN in the images",
                )
        return found

    def _goals(self, scores: Sequence[tuple[str, Tensor]], reference: object) -> list[Tensor | None]:
        if reference is None:
            return [None] * len(scores)
        wanted = float_outputs(reference)[: len(scores)]
        shapes = [[tuple(tensor.shape) for _, tensor in found] for found in (scores, wanted)]
        if shapes[0] != shapes[1]:
            raise ShapeMismatch("the reference's outputs do not fit", got=shapes[1], expected=shapes[0])
        return [_flat(goal.to(own.device)) for (_, own), (_, goal) in zip(scores, wanted, strict=True)]

    def _labels(self, flat: Float[Tensor, "M K"], labels: Tensor | None, place: str) -> Tensor | None:
        needed = self.metric in ("accuracy", "loss")
        if labels is None:
            if needed:
                raise MissingInput(f"{self.metric} needs labels", mend="give (images, labels), or use metric='kl'")
            return None
        own = labels.to(flat.device).flatten().long()
        fit = len(own) == len(flat)
        if needed and not fit:
            raise ShapeMismatch(
                f"labels and outputs{place and f' at {place}'} differ in number", got=len(own), expected=len(flat)
            )
        return own if fit and (needed or _are_classes(own, flat.shape[1])) else None

    def _compare(self, flat: Float[Tensor, "M K"], goal: Tensor | None, labels: Tensor | None, weight: float) -> None:
        logs, strongest = flat.log_softmax(1), flat.argmax(1)
        found: dict[str, Tensor] = {}
        if labels is not None:
            found["accuracy"] = (strongest == labels).double()
            found["loss"] = functional.nll_loss(logs, labels, reduction="none")
        if goal is not None:
            wanted = goal.log_softmax(1)
            found["kl"] = (wanted.exp() * (wanted - logs)).sum(1)
            found["agreement"] = (strongest == goal.argmax(1)).double()
            if labels is not None:
                found["dense_accuracy"] = (goal.argmax(1) == labels).double()
                found["dense_loss"] = functional.nll_loss(wanted, labels, reduction="none")
        for name, values in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + weight * float(values.mean())


def _flat(logits: Tensor) -> Float[Tensor, "M K"]:
    return logits.movedim(1, -1).flatten(0, -2).double()


def _no_scores(outputs: object, place: str) -> ShapeMismatch:
    shapes = {name or "output": tuple(tensor.shape) for name, tensor in output_tensors(outputs)}
    return ShapeMismatch(
        f"the outputs are no logits{place and f' at {place}'}",
        got=shapes or type(outputs).__name__,
        expected="a tensor (N, K) or (N, K, …) with two classes or more",
        mend="use the metric 'outputs', which compares outputs of any kind, or 'features', which needs none",
    )


def _are_classes(labels: Tensor, classes: int) -> bool:
    return bool(((labels >= 0) & (labels < classes)).all())
