"""The proxy metric: how much of the dense network a compressed one keeps, on held-out images.

Shapes: N images, K classes; scores may have further axes (N, K, …), and an image's value is then the mean over its
positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxy.errors import MissingInput, ShapeMismatch, UnsupportedMethod
from proxy.feature_distance import FeatureMoments, FeatureWatch, feature_distance, feature_places
from proxy.inputs import Inputs, inputs_of, labels_of
from proxy.modes import evaluating
from proxy.output_distance import DenseOutputs
from proxy.tally import Tally

__all__ = ["METRICS", "Score", "reference_logits", "score"]

METRICS = ("accuracy", "kl", "loss", "features", "outputs")

Reference: TypeAlias = nn.Module | Sequence[Any] | Tensor | DenseOutputs | FeatureMoments


@dataclass(frozen=True)
class Score:
    """What was measured; means over the images seen.

    Args:
        metric: ``accuracy``, ``kl``, ``loss``, ``features`` or ``outputs``.
        value: the metric asked for.
        accuracy: share of images whose strongest class is the label; None without labels.
        kl: ``KL(reference ‖ compressed)`` of the class probabilities, in nats; None without a reference's logits.
        loss: cross-entropy with the labels, in nats; None without labels.
        agreement: share of images whose strongest class is the reference's; None without a reference's logits.
        count: images measured.
        complete: all validation images were seen; False where ``stop`` ended it.
        features: distance of the features' moments (:mod:`proxy.feature_distance`); None unless asked for.
        outputs: distance of the outputs (:mod:`proxy.output_distance`); None unless asked for.
        dense_value: the reference's own metric on the same images; None where it cannot be told.
        batch_means: of every batch, the mean of what trials are raced on, smaller is better: kl where the metric is
            accuracy, else the metric itself. None for ``features``, and for accuracy without a reference.
    """

    metric: str
    value: float
    accuracy: float | None
    kl: float | None
    loss: float | None
    agreement: float | None
    count: int
    complete: bool = True
    features: float | None = None
    outputs: float | None = None
    dense_value: float | None = None
    batch_means: tuple[float, ...] | None = None

    @property
    def higher_is_better(self) -> bool:
        """True for accuracy, False for the others."""
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
        validation: batches: inputs, ``(inputs, labels)`` or ``(inputs, None)``. Inputs are the tensor of images
            ``(N, …)``; a tuple of tensors, for a network of several (then always in such a pair); or a dict of
            keyword arguments.
        reference: the dense network; or its :func:`proxy.reference_outputs` on the same images; or its outputs
            (:func:`reference_logits`), batch by batch, or one tensor for all images; or, for ``features``, its
            :func:`proxy.feature_moments`. Needed for ``kl``, ``features`` and ``outputs``.
        metric: ``accuracy`` and ``loss`` (need labels, of the first output's classes), ``kl`` (needs a reference; the
            mean over all outputs, which must all be class scores), ``outputs`` (needs a reference; outputs of any
            kind) or ``features`` (needs the dense network or its moments; outputs of any kind). Of outputs that are
            no logits (N, K), the last two tell nothing else. More is better of accuracy alone.
        stop: told the running score after every batch but the last it is asked for; True ends the measurement. Not
            asked for ``features``, which is no mean over images.

    Raises:
        MissingInput: labels or reference are needed, or there is no image.
        NotFinite: outputs or features that are no numbers.
        ShapeMismatch: reference or labels that do not fit the outputs, or outputs that do not fit the metric.
        UnsupportedMethod: no such metric.
    """
    _check(metric, reference)
    if metric == "features":
        return _feature_score(model, validation, reference)
    variances = reference.variances if isinstance(reference, DenseOutputs) else None
    tally = Tally(metric, _raced(metric, reference), variances)
    with evaluating(model, *_networks(reference)), torch.no_grad():
        given = _References(reference)
        for batch in validation:
            inputs = inputs_of(batch).beside(model)
            tally.add(inputs.into(model), labels_of(batch), given.for_batch(inputs), images=len(inputs))
            if stop is not None and stop(_score(tally, metric, complete=False)):
                return _score(tally, metric, complete=False)
    return _score(tally, metric, complete=True)


def reference_logits(model: nn.Module, validation: Iterable[Any]) -> list[Float[Tensor, "N K"]]:
    """The dense network's outputs, batch by batch: once for many compressed networks."""
    with evaluating(model), torch.no_grad():
        return [inputs_of(batch).beside(model).into(model) for batch in validation]


def _check(metric: str, reference: Reference | None) -> None:
    if metric not in METRICS:
        raise UnsupportedMethod("there is no such metric", got=repr(metric), expected=f"one of {METRICS}")
    if metric == "kl" and (reference is None or isinstance(reference, FeatureMoments)):
        raise MissingInput("kl compares with the dense network", mend="pass reference=model or its logits")
    if metric == "outputs" and (reference is None or isinstance(reference, FeatureMoments)):
        raise MissingInput("outputs compares with the dense network", mend="pass reference=model or its outputs")
    if metric == "features" and not isinstance(reference, nn.Module | FeatureMoments):
        raise MissingInput(
            "features compares with the dense network's", mend="pass reference=model or its feature_moments"
        )


def _raced(metric: str, reference: Reference | None) -> str | None:
    if metric != "accuracy":
        return metric
    return None if reference is None or isinstance(reference, FeatureMoments) else "kl"


def _networks(reference: Reference | None) -> list[nn.Module]:
    if isinstance(reference, DenseOutputs):
        return [reference.network] if reference.batches is None else []
    return [reference] if isinstance(reference, nn.Module) else []


def _feature_score(model: nn.Module, validation: Iterable[Any], reference: Reference | None) -> Score:
    """Both networks' moments in one pass; the dense network's not again where they are given."""
    tally = Tally("features", None)
    watches: list[FeatureWatch] = []
    with evaluating(model, *_networks(reference)), torch.no_grad(), ExitStack() as watching:
        for batch in validation:
            inputs = inputs_of(batch).beside(model)
            if not watches:
                watches = [watching.enter_context(watch) for watch in _watches(model, reference, inputs[:1])]
            dense = inputs.into(reference) if isinstance(reference, nn.Module) else None
            tally.add(inputs.into(model), labels_of(batch), dense, images=len(inputs))
    if not watches:
        raise MissingInput("there are no validation images", expected="at least one batch")
    own, *others = [watch.moments() for watch in watches]
    target = reference if isinstance(reference, FeatureMoments) else others[0]
    return _score(tally, "features", complete=True, features=feature_distance(target, own))


def _watches(model: nn.Module, reference: Reference | None, image: Inputs) -> list[FeatureWatch]:
    if isinstance(reference, nn.Module):
        places = feature_places(reference, image)
        return [FeatureWatch(model, places), FeatureWatch(reference, places)]
    assert isinstance(reference, FeatureMoments)  # noqa: S101 - checked before
    return [FeatureWatch(model, reference.places)]


class _References:
    """Hands out the reference's outputs for one batch after another, whatever form they were given in."""

    def __init__(self, reference: Reference | None) -> None:
        if isinstance(reference, DenseOutputs):
            reference = reference.network if reference.batches is None else reference.batches
        self._reference = None if isinstance(reference, FeatureMoments) else reference
        self._seen = 0
        single = self._reference is None or isinstance(self._reference, Tensor | nn.Module)
        self._batches: Iterator[Any] = iter(()) if single else iter(self._reference)  # type: ignore[arg-type]  # a sequence

    def for_batch(self, inputs: Inputs) -> Any:  # noqa: ANN401 - of the structure of the network's outputs
        if self._reference is None:
            return None
        if isinstance(self._reference, nn.Module):
            return inputs.into(self._reference)
        if isinstance(self._reference, Tensor):
            self._seen += len(inputs)
            return self._reference[self._seen - len(inputs) : self._seen]
        found = next(self._batches, None)
        if found is None:
            raise ShapeMismatch("fewer reference batches than validation batches", mend="batch both alike")
        return found


def _score(tally: Tally, metric: str, *, complete: bool, features: float | None = None) -> Score:
    if tally.count == 0:
        raise MissingInput("there are no validation images", expected="at least one batch")
    means = tally.means()
    dense = {"accuracy": means.get("dense_accuracy"), "loss": means.get("dense_loss")}
    return Score(
        metric=metric,
        value=means[metric] if features is None else features,
        accuracy=means.get("accuracy"),
        kl=means.get("kl"),
        loss=means.get("loss"),
        agreement=means.get("agreement"),
        count=tally.count,
        complete=complete,
        features=features,
        outputs=means.get("outputs"),
        dense_value=dense.get(metric, 0.0),
        batch_means=tuple(tally.batch_means()) or None,
    )
