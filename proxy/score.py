"""The proxy metric: how much of the dense network a compressed one keeps, on held-out images.

Shapes: N images, K classes; logits may have further axes (N, K, …), each position then counts as an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from proxy.calibrate import images_of
from proxy.errors import MissingInput, NotFinite, ShapeMismatch, UnsupportedMethod
from proxy.modes import evaluating

__all__ = ["Score", "reference_logits", "score"]

Reference: TypeAlias = nn.Module | Sequence[Tensor] | Tensor


@dataclass(frozen=True)
class Score:
    """What was measured; means over the images seen.

    Args:
        metric: ``accuracy`` or ``kl``.
        value: the metric asked for.
        accuracy: share of images whose strongest class is the label; None without labels.
        kl: ``KL(reference ‖ compressed)`` of the class probabilities, in nats; None without a reference.
        loss: cross-entropy with the labels, in nats; None without labels.
        agreement: share of images whose strongest class is the reference's; None without a reference.
        count: images measured.
        complete: all validation images were seen; False where ``stop`` ended it.
    """

    metric: str
    value: float
    accuracy: float | None
    kl: float | None
    loss: float | None
    agreement: float | None
    count: int
    complete: bool = True

    @property
    def higher_is_better(self) -> bool:
        """True for accuracy, False for the divergence."""
        return self.metric == "accuracy"


def score(
    model: nn.Module,
    validation: Iterable[Any],
    *,
    reference: Reference | None = None,
    metric: str = "accuracy",
    stop: Callable[[Score], bool] | None = None,
) -> Score:
    """Measure a network on validation images.

    Args:
        model: run in eval mode without gradients; left as it was.
        validation: batches: images, ``(images, labels)`` or ``(images, None)``.
        reference: the dense network, or its logits (:func:`reference_logits`): one tensor per batch, or one
            tensor for all images. Needed for ``kl``.
        metric: ``accuracy`` (needs labels; higher is better) or ``kl`` (needs a reference; lower is better).
        stop: told the running score after every batch but the last it is asked for; True ends the measurement.

    Raises:
        MissingInput: labels or reference are needed, or there is no image.
        NotFinite: outputs that are no numbers.
        ShapeMismatch: reference or labels that do not fit the outputs.
        UnsupportedMethod: no such metric.
    """
    if metric not in ("accuracy", "kl"):
        raise UnsupportedMethod("there is no such metric", got=repr(metric), expected="'accuracy' or 'kl'")
    if metric == "kl" and reference is None:
        raise MissingInput("kl compares with the dense network", mend="pass reference=model or its logits")
    tally = _Tally(metric)
    dense = [reference] if isinstance(reference, nn.Module) else []
    with evaluating(model, *dense), torch.no_grad():
        given = _References(reference)
        for batch in validation:
            images = images_of(batch, model)
            labels = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
            tally.add(model(images), labels, given.for_batch(images))
            if stop is not None and stop(tally.score(complete=False)):
                return tally.score(complete=False)
    return tally.score(complete=True)


def reference_logits(model: nn.Module, validation: Iterable[Any]) -> list[Float[Tensor, "N K"]]:
    """The dense network's outputs, batch by batch: once per study, for all its trials."""
    with evaluating(model), torch.no_grad():
        return [model(images_of(batch, model)) for batch in validation]


class _References:
    """Hands out the reference's logits for one batch after another, whatever form they were given in."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._seen = 0
        single = reference is None or isinstance(reference, Tensor | nn.Module)
        self._batches: Iterator[Tensor] = iter(()) if single else iter(reference)  # type: ignore[arg-type]  # a sequence

    def for_batch(self, images: Tensor) -> Tensor | None:
        if self._reference is None:
            return None
        if isinstance(self._reference, nn.Module):
            logits: Tensor = self._reference(images)
            return logits
        if isinstance(self._reference, Tensor):
            self._seen += len(images)
            return self._reference[self._seen - len(images) : self._seen]
        found = next(self._batches, None)
        if found is None:
            raise ShapeMismatch("fewer reference batches than validation batches", mend="batch both alike")
        return found


class _Tally:
    """Running sums over the images seen, in float64."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._count = 0
        self._sums: dict[str, float] = {}

    def add(self, logits: Float[Tensor, "N K *p"], labels: Tensor | None, reference: Tensor | None) -> None:
        if _rank(logits) < 2:  # noqa: PLR2004 - images, classes
            raise ShapeMismatch("the outputs are no logits", got=_shape(logits), expected="a tensor (N, K)")
        if not bool(torch.isfinite(logits).all()):
            raise NotFinite(
                "the network's outputs are no numbers",
                mend="calibrate the network, raise the ranks, or look for NaN in the images",
            )
        flat = logits.movedim(1, -1).flatten(0, -2).double()
        logs = flat.log_softmax(1)
        self._count += len(flat)
        if labels is None:
            if self._metric == "accuracy":
                raise MissingInput("accuracy needs labels", mend="give (images, labels), or use metric='kl'")
        else:
            self._add_labels(flat, logs, labels.to(flat.device).flatten().long())
        if reference is not None:
            self._add_reference(flat, logs, reference, logits)

    def _add_labels(self, flat: Tensor, logs: Tensor, labels: Tensor) -> None:
        if len(labels) != len(flat):
            raise ShapeMismatch("labels and outputs differ in number", got=len(labels), expected=len(flat))
        self._add("accuracy", (flat.argmax(1) == labels).double().sum())
        self._add("loss", functional.nll_loss(logs, labels, reduction="sum"))

    def _add_reference(self, flat: Tensor, logs: Tensor, reference: Tensor, logits: Tensor) -> None:
        if reference.shape != logits.shape:
            raise ShapeMismatch("the reference's outputs do not fit", got=_shape(reference), expected=_shape(logits))
        wide = reference.to(flat.device).movedim(1, -1).flatten(0, -2).double()
        goal = wide.log_softmax(1)
        self._add("kl", (goal.exp() * (goal - logs)).sum())
        self._add("agreement", (flat.argmax(1) == wide.argmax(1)).double().sum())

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def score(self, *, complete: bool) -> Score:
        if self._count == 0:
            raise MissingInput("there are no validation images", expected="at least one batch")
        means = {name: total / self._count for name, total in self._sums.items()}
        return Score(
            metric=self._metric,
            value=means[self._metric],
            accuracy=means.get("accuracy"),
            kl=means.get("kl"),
            loss=means.get("loss"),
            agreement=means.get("agreement"),
            count=self._count,
            complete=complete,
        )


def _rank(value: object) -> int:
    return value.ndim if isinstance(value, Tensor) else 0


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
