"""Images of a data set document as pictures, with their labels: read from the blob, a range for each.

A document is somebody's upload. Its header is checked in full again before any of it is believed, what one picture
costs is bounded, and nothing of the document but an image's own bytes and its label is ever read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.dataset_inputs import InputSummary
from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.resources import Sample, Samples
from ranksearch.contracts.tensorfile import TORCH_DTYPES, StoredTensor, TensorFileHeader, read_header_in_parts
from service.access.principal import Principal
from service.access.visibility import existing_dataset
from service.scheduling.backend import Backend
from service.scheduling.png import png
from service.storage.tables import DatasetRow

__all__ = ["PICTURE_CHANNELS", "picture", "pictured", "samples"]

PICTURE_CHANNELS: Final = (1, 3)
"""How many channels an image has that can be shown: grey, or red, green and blue."""
_LARGEST_IMAGE: Final = 64 << 20
"""Bytes of a stored image, at most."""
_LONGEST_SIDE: Final = 512
"""Pixels of a picture, at most: of a larger image every so many are shown."""
_DTYPES: Final = {"U8": "u1", "F16": "<f2", "F32": "<f4", "I32": "<i4", "I64": "<i8"}


@dataclass(frozen=True)
class _Document:
    backend: Backend
    sha256: str
    summary: DatasetSummary

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Elements ``start`` to ``stop`` of a tensor's first dimension, which it has."""
        header = self._header()
        tensor = header.tensors[name]
        shape = tensor.shape[1:]
        each = math.prod(shape) * np.dtype(_DTYPES[tensor.dtype]).itemsize
        begin = header.data_start + tensor.begin
        data = self._read(begin + start * each, begin + stop * each)
        return np.frombuffer(data, _DTYPES[tensor.dtype]).reshape(stop - start, *shape)

    def _header(self) -> TensorFileHeader:
        size = self.backend.blobs.size(self.sha256)
        header = read_header_in_parts(self._read, size, error=DatasetError)
        self._check(header.tensors)
        return header

    def _check(self, tensors: Mapping[str, StoredTensor]) -> None:
        """That the document is what its summary says."""
        as_told = all(_is_of(one, self.summary.count, tensors.get(one.tensor)) for one in self.summary.inputs)
        if self.summary.has_labels:
            labels = tensors.get("labels")
            as_told &= labels is not None and labels.dtype in _DTYPES and labels.shape == (self.summary.count,)
        if not as_told:
            raise DatasetError(
                "dataset_header_invalid", "the document does not hold what it held when it came", mend="upload it again"
            )

    def _read(self, start: int, stop: int) -> bytes:
        return b"".join(self.backend.blobs.read(self.sha256, start, stop))


def samples(backend: Backend, caller: Principal, dataset_id: str, start: int, count: int) -> Samples:
    """Some images of a data set: their numbers, their labels, and where their pictures are.

    Args:
        backend: the stores.
        caller: who asks.
        dataset_id: of the data set.
        start: the first image.
        count: how many, at most.

    Raises:
        NotFoundError: no such data set.
        DatasetError: ``dataset_slice_out_of_range``: it has no such image.
    """
    document = _document(backend, caller, dataset_id)
    summary = document.summary
    if not 0 <= start < summary.count:
        raise _no_such_image(start, summary)
    stop = min(summary.count, start + count)
    labels = document.rows("labels", start, stop).tolist() if summary.has_labels else [None] * (stop - start)
    names = summary.class_names
    can_be_shown = _why_not_shown(pictured(summary)) is None
    return Samples(
        items=[
            Sample(
                index=index,
                label=label,
                class_name=None if names is None or label is None else names[label],
                url=f"/v1/datasets/{dataset_id}/images/{index}" if can_be_shown else None,
            )
            for index, label in zip(range(start, stop), labels, strict=True)
        ],
        count=summary.count,
    )


def picture(backend: Backend, caller: Principal, dataset_id: str, index: int) -> bytes:
    """One image as a PNG file; of several inputs, the first that can be shown.

    Stored bytes, and floats between 0 and 1, are shown as they are; other floats, such as those that were normalised
    before they were packed, from the image's smallest to its largest.

    Raises:
        NotFoundError: no such data set.
        DatasetError: it has no such image, or none that can be shown.
    """
    document = _document(backend, caller, dataset_id)
    summary = document.summary
    if not 0 <= index < summary.count:
        raise _no_such_image(index, summary)
    shown = pictured(summary)
    if (refusal := _why_not_shown(shown)) is not None:
        raise refusal
    (image,) = document.rows(shown.tensor, index, index + 1)
    if shown.layout == "NCHW":
        image = np.moveaxis(image, 0, 2)
    step = math.ceil(max(image.shape[:2]) / _LONGEST_SIDE)
    return png(_pixels(image[::step, ::step]))


def _document(backend: Backend, caller: Principal, dataset_id: str) -> _Document:
    with backend.reading() as session:
        row: DatasetRow = existing_dataset(session, caller, dataset_id)
        return _Document(backend, row.sha256, DatasetSummary.model_validate(row.summary))


def pictured(summary: DatasetSummary) -> InputSummary:
    """The input whose pictures stand for the images: the first that has any, else the first."""
    return next((one for one in summary.inputs if _why_not_shown(one) is None), summary.inputs[0])


def _is_of(one: InputSummary, count: int, stored: StoredTensor | None) -> bool:
    """Whether a tensor is what the summary says of an input."""
    shape = (*one.shape[1:], one.shape[0]) if one.layout == "NHWC" else one.shape
    return stored is not None and TORCH_DTYPES[stored.dtype] == one.dtype and stored.shape == (count, *shape)


def _why_not_shown(one: InputSummary) -> DatasetError | None:
    if one.layout is None:
        return DatasetError(
            "dataset_shape_mismatch",
            "what is no image has no picture",
            got=f"{one.name} of shape {list(one.shape)}, taken as it is stored",
            expected="an input with a layout",
        )
    channels = one.shape[0]
    each = math.prod(one.shape) * {"uint8": 1, "float16": 2}.get(one.dtype, 4)
    if channels not in PICTURE_CHANNELS:
        return DatasetError(
            "dataset_shape_mismatch",
            "images of so many channels have no picture",
            got=f"{channels} channels",
            expected=" or ".join(str(channels) for channels in PICTURE_CHANNELS),
        )
    if each > _LARGEST_IMAGE:
        return DatasetError(
            "dataset_too_large",
            "an image is too large to be shown",
            got=f"{each} bytes",
            expected=f"at most {_LARGEST_IMAGE} bytes",
        )
    return None


def _no_such_image(index: int, summary: DatasetSummary) -> DatasetError:
    return DatasetError(
        "dataset_slice_out_of_range",
        "the data set has no such image",
        got=index,
        expected=f"0 to {summary.count - 1}",
    )


def _pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image ``(H, W, C)`` as bytes, by the rule of :func:`picture`."""
    if image.dtype == np.uint8:
        return np.asarray(image, dtype=np.uint8)
    values = np.nan_to_num(image.astype(np.float64))
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.rint(255 * values).astype(np.uint8)
