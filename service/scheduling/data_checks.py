"""Whether the images that a study names can be used with its model."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ranksearch.contracts.dataset_inputs import matched_inputs
from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import DatasetError, NotFoundError
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.study_requests import DataSlice
from service.access.principal import Principal
from service.scheduling.backend import HOLD
from service.storage.tables import DatasetRow

__all__ = ["check_apart", "check_label_range", "classes_of", "slice_of"]


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
    matched_inputs(summary.inputs, profile.input_specs, role)
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
    """The number of class scores; None where the first output is not a row of scores, two at least."""
    outputs = [spec for spec in profile.output_specs if "float" in spec.dtype]
    first = outputs[0].shape if outputs else ()
    return first[0] if len(first) == 1 and first[0] > 1 else None


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
