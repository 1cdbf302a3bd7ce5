"""What is taken where a user says nothing: the same on the command line, in Python and in a browser.

Members that a request leaves out have their defaults in :class:`~ranksearch.contracts.study_requests.StudyRequest`;
here is what depends on other members, or on the data.
"""

from __future__ import annotations

from typing import Final

from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.goals import Objective
from ranksearch.contracts.resources import Dataset
from ranksearch.contracts.study_requests import DataSlice

__all__ = ["DEFAULT_BUDGET", "default_objectives", "split"]

DEFAULT_BUDGET: Final = "40%"
"""Of the macs, where the best proxy is searched for and nothing is bounded."""

_CALIBRATION_IMAGES: Final = 1024
"""Of one data set: at most, and at most a third. The decision rests on the validation images."""
_CALIBRATION_SHARE: Final = 3


def default_objectives(max_drop: float | None) -> list[Objective]:
    """The best proxy; the fewest macs where somebody says how much may be lost for them."""
    return ["proxy"] if max_drop is None else ["macs"]


def split(dataset: Dataset) -> tuple[DataSlice, DataSlice]:
    """Split one data set: the first images, at most 1,024 and at most a third, calibrate; the rest validate.

    Raises:
        DatasetError: one image cannot be split.
    """
    count = dataset.summary.count
    if count < 2:  # noqa: PLR2004 - one for each
        raise DatasetError(
            "dataset_empty",
            "one image cannot both calibrate and validate",
            got=count,
            expected="≥ 2",
        )
    cut = max(1, min(_CALIBRATION_IMAGES, count // _CALIBRATION_SHARE))
    return DataSlice(dataset=dataset.id, start=0, stop=cut), DataSlice(dataset=dataset.id, start=cut)
