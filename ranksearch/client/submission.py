"""From what a user has at hand – files, ids, one data set – to what is stored on the service."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from ranksearch.client.checks import checked
from ranksearch.client.documents import Datasets, Models
from ranksearch.client.progress import Progress
from ranksearch.contracts.defaults import split
from ranksearch.contracts.errors import InputError
from ranksearch.contracts.resources import Dataset, Model
from ranksearch.contracts.study_requests import DataSlice

__all__ = ["DataReference", "ModelReference", "Submission", "existing_file"]

ModelReference = str | os.PathLike[str] | Model
"""The path of a model document or of an ONNX file, a model's id, or a model."""
DataReference = str | os.PathLike[str] | Dataset
"""The path of a data set document, a data set's id, or a data set."""

_SLICE: Final = re.compile(r"^(?P<data>.+)\[(?P<start>\d*):(?P<stop>\d*)\]$")


class Submission:
    """Uploads what a study needs, each file once, and says what it became.

    Args:
        models: where models go.
        datasets: where data sets go.
        progress: of the uploads.
    """

    def __init__(self, models: Models, datasets: Datasets, *, progress: Progress = False) -> None:
        self._models = models
        self._datasets = datasets
        self._progress = progress
        self._uploaded: dict[Path, Dataset] = {}

    def model(self, reference: ModelReference) -> Model:
        """The model that a reference means, uploaded if it is a file."""
        if isinstance(reference, Model):
            return reference
        path = existing_file(reference, "a model document or an ONNX file")
        return self._models.get(str(reference)) if path is None else self._models.upload(path, progress=self._progress)

    def dataset(self, reference: DataReference) -> Dataset:
        """The data set that a reference means, uploaded if it is a file."""
        if isinstance(reference, Dataset):
            return reference
        path = existing_file(reference, "a data set document")
        if path is None:
            return self._datasets.get(str(reference))
        if path not in self._uploaded:
            self._uploaded[path] = self._datasets.upload(path, progress=self._progress)
        return self._uploaded[path]

    def data_slice(self, reference: DataReference | DataSlice) -> DataSlice:
        """The images that a reference means: ``"path_or_id[0:1024]"``, or a whole data set."""
        if isinstance(reference, DataSlice):
            return reference.model_copy(update={"dataset": self.dataset(reference.dataset).id})
        start, stop = 0, None
        if isinstance(reference, str) and not Path(reference).exists() and (match := _SLICE.match(reference)):
            reference = match["data"]
            start = int(match["start"] or 0)
            stop = int(match["stop"]) if match["stop"] else None
        dataset = self.dataset(reference)
        return checked(lambda: DataSlice(dataset=dataset.id, start=start, stop=stop))

    def data_slices(
        self,
        data: DataReference | None,
        calibration: DataReference | DataSlice | None,
        validation: DataReference | DataSlice | None,
    ) -> tuple[DataSlice, DataSlice]:
        """The calibration and the validation images.

        Raises:
            InputError: neither one data set for both nor both by themselves were given.
        """
        if data is not None and calibration is None and validation is None:
            return split(self.dataset(data))
        if data is None and calibration is not None and validation is not None:
            return self.data_slice(calibration), self.data_slice(validation)
        raise InputError(
            "invalid_request",
            "it is not clear which images calibrate and which validate",
            got=f"data={data!r}, calibration={calibration!r}, validation={validation!r}",
            expected="one data set, which is split; or calibration and validation, and no third",
            mend='for parts of one data set: calibration="d.safetensors[0:1024]", validation="d.safetensors[1024:]"',
        )


def existing_file(reference: str | os.PathLike[str], kind: str) -> Path | None:
    """The file that a reference names; None where it reads as an id.

    Raises:
        InputError: it reads as a path, and there is no such file.
    """
    path = Path(reference)
    if path.is_file():
        return path
    if not isinstance(reference, str) or path.suffix or os.sep in reference:
        raise InputError(
            "invalid_request",
            "there is no such file",
            got=str(reference),
            expected=f"{kind}, or an id",
            mend="check the path; `ranksearch models` and `ranksearch datasets` list the ids",
        )
    return None
