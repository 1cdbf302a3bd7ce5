"""Whether the images that a study names can be used with its model, and what it is judged by with them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import DatasetError, InputError, NotFoundError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.access.principal import Principal
from service.scheduling.backend import HOLD
from service.storage.tables import DatasetRow

__all__ = ["check_apart", "check_label_range", "classes_of", "metric_of", "slice_of"]

_LABELLED = frozenset({"accuracy", "loss"})


def metric_of(request: StudyRequest, data: DatasetSummary, profile: ModelProfile) -> Metric:
    """The metric asked for, or the one that suits the study.

    Args:
        request: of the study.
        data: the validation images.
        profile: of the model.

    Raises:
        DatasetError: it needs labels, and there are none.
        InputError: it needs class scores, and the model gives none.
    """
    classifies = classes_of(profile) is not None
    if request.metric is None:
        if not classifies:
            return "features"
        return "accuracy" if request.smallest and data.has_labels else "kl"
    metric = request.metric
    if metric in _LABELLED and not data.has_labels:
        raise DatasetError(
            "dataset_labels_missing",
            f"{metric} needs labels, and the validation data set has none",
            mend=f'pack the images with labels, or ask for the metric "{"kl" if classifies else "features"}"',
        )
    if metric in _LABELLED and not classifies:
        raise _no_scores(metric, profile, "one output of one dimension: one score per class")
    if metric == "kl" and not (profile.output_shapes and profile.output_shapes[0]):
        raise _no_scores(metric, profile, "a first output of class scores")
    return metric


def _no_scores(metric: Metric, profile: ModelProfile, expected: str) -> InputError:
    return InputError(
        "invalid_request",
        f"{metric} needs a model that gives class scores",
        got=profile.output_shapes,
        expected=expected,
        mend='ask for the metric "features", which compares whatever the model computes',
    )


def slice_of(
    session: Session, caller: Principal, role: str, wanted: DataSlice, profile: ModelProfile, *, hold: bool
) -> tuple[DataSlice, DatasetSummary]:
    """The slice with its end filled in, and its data set; ``hold``: which nobody deletes until the transaction ends.

    Raises:
        NotFoundError: there is no such data set in the caller's project.
        DatasetError: it ends before the slice does, or its images do not fit the model.
    """
    row = session.get(DatasetRow, wanted.dataset, with_for_update=HOLD if hold else None)
    if row is None or row.project_id != caller.project:
        raise NotFoundError(
            "dataset_not_found",
            f"there is no such data set ({role})",
            got=wanted.dataset,
            mend="upload it first: POST /v1/datasets",
        )
    summary = DatasetSummary.model_validate(row.summary)
    stop = summary.count if wanted.stop is None else wanted.stop
    if stop > summary.count or wanted.start >= stop:
        raise DatasetError(
            "dataset_slice_out_of_range",
            f"the {role} images reach beyond the data set",
            got=f"{wanted.start} to {stop}",
            expected=f"within 0 to {summary.count}",
        )
    shape = list(summary.image_shape)
    if profile.input_shapes != [shape]:
        raise DatasetError(
            "dataset_shape_mismatch",
            f"the {role} images do not have the shape that the model takes",
            got=shape,
            expected=profile.input_shapes[0] if len(profile.input_shapes) == 1 else "a model with one input",
            mend="pack the images at the model's size, or pack the model with an example of the images' size",
        )
    return DataSlice(dataset=wanted.dataset, start=wanted.start, stop=stop), summary


def check_apart(other: DataSlice, validation: DataSlice, *, role: str = "calibration") -> None:
    """Validation must be held out from what is calibrated or trained on.

    Raises:
        DatasetError: both slices hold the same images.
    """
    if other.dataset != validation.dataset:
        return
    start = max(other.start, validation.start)
    stop = min(other.stop or 0, validation.stop or 0)
    if start < stop:
        raise DatasetError(
            "dataset_overlap",
            f"{role} and validation images overlap, so the validation would not be held out",
            got=f"both hold the images {start} to {stop}",
            expected="slices that do not overlap",
            mend="give each its own range of the data set",
        )


def classes_of(profile: ModelProfile) -> int | None:
    """The number of class scores; None where the first output is not a row of scores."""
    first = profile.output_shapes[0] if profile.output_shapes else []
    return first[0] if len(first) == 1 else None


def check_label_range(role: str, data: DatasetSummary, profile: ModelProfile) -> None:
    """The model must have an output for every label.

    Raises:
        DatasetError: it has not.
    """
    outputs = classes_of(profile)
    if outputs is not None and data.label_max is not None and data.label_max >= outputs:
        raise DatasetError(
            "dataset_labels_out_of_range",
            f"the {role} data set has labels that the model has no output for",
            got=f"label {data.label_max}",
            expected=f"labels 0 to {outputs - 1}",
            mend="use the data set that the model was trained for, with its numbering of the classes",
        )
