"""What a study is judged by: the metric asked for, if it fits what the model answers, or the one that suits it.

A network with one output, a row of scores, is taken for a classifier and judged by kl: it needs no labels and tells
candidates apart better than accuracy. Any other is judged by ``outputs``, the distance of what it answers from what the
dense network answers: of any structure and unit; a mean over images, so that trials can be raced batch by batch; and on
a scale (1: no better than a constant) on which a loss can be bounded. ``features``, which is no mean, is left for
networks that answer whole numbers alone.
"""

from __future__ import annotations

from typing import Final, get_args

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import DatasetError, InputError, RankSearchError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.jobs import SensitivityMeasure
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.study_requests import StudyRequest
from service.scheduling.data_checks import classes_of

__all__ = ["default_metric", "fitting_metrics", "float_outputs", "measure_of", "metric_of"]

_LABELLED: Final = frozenset({"accuracy", "loss"})


def metric_of(request: StudyRequest, data: DatasetSummary, profile: ModelProfile) -> Metric:
    """The metric asked for, or the one that suits the study.

    Args:
        request: of the study.
        data: the validation images.
        profile: of the model.

    Raises:
        DatasetError: it needs labels, and there are none.
        InputError: it does not fit what the model answers.
    """
    if request.metric is None:
        return default_metric(data, profile, smallest=request.smallest)
    if (refusal := _refusal(request.metric, data, profile)) is not None:
        raise refusal
    return request.metric


def default_metric(data: DatasetSummary, profile: ModelProfile, *, smallest: bool) -> Metric:
    """What trials are judged by where nobody says.

    Args:
        data: the validation images.
        profile: of the model.
        smallest: whether the least cost within ``max_drop`` is searched for.
    """
    if classes_of(profile) is not None and len(profile.output_specs) == 1:
        return "accuracy" if smallest and data.has_labels else "kl"
    return "outputs" if float_outputs(profile) else "features"


def fitting_metrics(data: DatasetSummary, profile: ModelProfile) -> list[Metric]:
    """The metrics that can be asked for."""
    return [metric for metric in get_args(Metric) if _refusal(metric, data, profile) is None]


def measure_of(metric: str) -> SensitivityMeasure:
    """What of the outputs' change counts, in a study of this metric."""
    return "outputs" if metric in {"outputs", "features"} else "logits"


def _refusal(metric: Metric, data: DatasetSummary, profile: ModelProfile) -> RankSearchError | None:
    """Why a metric cannot be measured; None where it can."""
    classifies, outputs = classes_of(profile) is not None, float_outputs(profile)
    if metric in _LABELLED and not data.has_labels:
        suiting = default_metric(data, profile, smallest=False)
        return DatasetError(
            "dataset_labels_missing",
            f"{metric} needs labels, and the validation data set has none",
            mend=f'pack the images with labels, or ask for the metric "{suiting}"',
        )
    if metric in _LABELLED and not classifies:
        return _misfit(metric, profile, "a first output of one dimension: one score for each of two classes or more")
    if metric == "kl" and not (outputs and all(spec.shape and spec.shape[0] > 1 for spec in outputs)):
        return _misfit(metric, profile, "outputs that all begin with a score for each of two classes or more")
    if metric == "outputs" and not outputs:
        return _misfit(metric, profile, "an output of floating-point numbers")
    return None


def _misfit(metric: Metric, profile: ModelProfile, expected: str) -> InputError:
    told = "; ".join(f"{spec.name or 'output'} {spec.dtype} {list(spec.shape)}" for spec in profile.output_specs)
    other = "features" if metric == "outputs" or not float_outputs(profile) else "outputs"
    compares = "what its layers compute" if other == "features" else "whatever the model answers"
    return InputError(
        "metric_does_not_fit",
        f"{metric} cannot be measured of what the model answers",
        got=told or "no outputs",
        expected=expected,
        mend=f'ask for the metric "{other}", which compares {compares}',
    )


def float_outputs(profile: ModelProfile) -> list[TensorSpec]:
    """Those that something can be near to."""
    return [spec for spec in profile.output_specs if "float" in spec.dtype]
