"""Data set documents: images, labels where there are any, and how the images are normalised, in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ranksearch.contracts.dataset_summaries import DATASET_FORMAT, DatasetSummary, check_dataset_values, dataset_summary
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.tensorfile import read_header
from ranksearch.documents.tensor_bytes import Rows, read_tensor, write_tensor_file, written_in_place

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Dataset", "load_data", "pack_data", "write_dataset"]

Layout = Literal["NHWC", "NCHW"]

_DTYPES = (torch.uint8, torch.float16, torch.float32)


class Dataset:
    """The images and labels of a data set document; images are read from the file as they are asked for.

    Safe to share between threads and to send to other processes: it holds a path, and no open file.

    Args:
        path: the document.

    Raises:
        DatasetError: the document is unusable; see :func:`ranksearch.contracts.dataset_summaries.summarise_dataset`.
        OSError: there is no such file, or it may not be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._header = read_header(path, error=DatasetError)
        self.summary: DatasetSummary = dataset_summary(path, self._header)
        self._labels: Tensor | None = None

    def __len__(self) -> int:
        return self.summary.count

    def __repr__(self) -> str:
        kind = f"{self.num_classes} classes" if self.summary.has_labels else "no labels"
        return f"Dataset({len(self)} images of {self.image_shape}, {kind})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """One image's shape ``(C, H, W)``."""
        return self.summary.image_shape

    @property
    def num_classes(self) -> int | None:
        """The number of classes, or ``None`` without labels and class names."""
        return self.summary.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes' names in the order of their labels, where the document has them."""
        return self.summary.class_names

    @property
    def labels(self) -> Tensor | None:
        """Int64 labels of shape ``(N,)``, or ``None``."""
        if self._labels is None and self.summary.has_labels:
            with self._path.open("rb") as file:
                self._labels = read_tensor(file, self._header, "labels", error=DatasetError).to(torch.int64)
        return self._labels

    def raw(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The images ``[start, stop)`` as they are stored, in the stored layout and dtype.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        end = len(self) if stop is None else stop
        if not 0 <= start <= end <= len(self):
            raise DatasetError(
                "dataset_slice_out_of_range",
                "images are asked for that the data set does not have",
                got=f"{start} to {end}",
                expected=f"0 ≤ start ≤ stop ≤ {len(self)}",
                mend="use a larger data set or fewer images",
            )
        with self._path.open("rb") as file:
            return read_tensor(file, self._header, "images", rows=(start, end), error=DatasetError)

    def images(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The images ``[start, stop)`` as a network takes them.

        Stored bytes are divided by 255 first; then, channel by channel, the mean is subtracted and the result
        divided by the standard deviation.

        Returns:
            Float32 of shape ``(stop - start, C, H, W)``, contiguous.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        stored = self.raw(start, stop)
        if self.summary.layout == "NHWC":
            stored = stored.permute(0, 3, 1, 2)
        values = stored.to(torch.float32, memory_format=torch.contiguous_format)
        if stored.dtype == torch.uint8:
            values = values / 255
        mean = torch.tensor(self.summary.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.summary.std).view(1, -1, 1, 1)
        return (values - mean) / std

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The images ``[start, stop)`` and their labels, ``size`` at a time.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        end = len(self) if stop is None else stop
        for low in range(start, end, size):
            high = min(low + size, end)
            yield self.images(low, high), None if self.labels is None else self.labels[low:high]


def load_data(path: str | os.PathLike[str]) -> Dataset:
    """Open the data set document at ``path``.

    Raises:
        DatasetError: the document is truncated, too large, malformed, empty, or its labels do not fit.
        OSError: there is no such file, or it may not be read.
    """
    return Dataset(path)


def pack_data(
    images: Tensor | np.ndarray[Any, Any],
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None,
    path: str | os.PathLike[str],
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    layout: Layout = "NHWC",
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write images, and labels where there are any, as a data set document.

    Args:
        images: uint8 or float of shape ``(N, H, W, C)`` or ``(N, C, H, W)``, or ``(N, H, W)`` for one channel.
            Bytes mean values from 0 to 1; floats are taken as they are; float64 is stored as float32.
        labels: class numbers from 0, of shape ``(N,)``, or ``None``.
        path: where to write; replaced in one step once the document is complete.
        mean: subtracted from each channel, or from all.
        std: each channel is divided by it, or all are.
        layout: of ``images``.
        class_names: in the order of the labels.

    Returns:
        The path written to.

    Raises:
        DatasetError: no images, values that are not finite, a wrong dtype or shape, or labels that do not fit.
    """
    stored = torch.as_tensor(images)
    if stored.dtype == torch.float64:
        stored = stored.to(torch.float32)
    if stored.ndim == 3:  # noqa: PLR2004 - N, H, W
        stored = stored.unsqueeze(-1 if layout == "NHWC" else 1)
    rows = Rows(stored.dtype, tuple(stored.shape), (stored,))
    return write_dataset(rows, labels, path, mean=mean, std=std, layout=layout, class_names=class_names)


def write_dataset(
    images: Rows,
    labels: Tensor | np.ndarray[Any, Any] | Sequence[int] | None,
    path: str | os.PathLike[str],
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    layout: Layout,
    class_names: Sequence[str] | None,
) -> Path:
    """As :func:`pack_data`, for images that come piece by piece."""
    if images.dtype not in _DTYPES:
        got, expected = str(images.dtype), [str(dtype) for dtype in _DTYPES]
        raise DatasetError("dataset_wrong_dtype", "the images have an unusable dtype", got=got, expected=expected)
    if len(images.shape) != 4:  # noqa: PLR2004 - N, C, H, W
        detail = "the images do not have four dimensions"
        raise DatasetError("dataset_shape_mismatch", detail, got=list(images.shape), expected=layout)
    channels = images.shape[3 if layout == "NHWC" else 1]
    metadata = {
        "format": DATASET_FORMAT,
        "layout": layout,
        "mean": json.dumps(_per_channel(mean, channels)),
        "std": json.dumps(_per_channel(std, channels)),
    }
    if class_names is not None:
        metadata["class_names"] = json.dumps(list(class_names))
    tensors: dict[str, Tensor | Rows] = {"images": images}
    if labels is not None:
        tensors["labels"] = _checked_labels(labels)
    with written_in_place(path) as part:
        write_tensor_file(part, tensors, metadata)
        check_dataset_values(part)
    return Path(path)


def _per_channel(value: float | Sequence[float], channels: int) -> list[float]:
    numbers = [value] * channels if isinstance(value, (int, float)) else value
    return [float(number) for number in numbers]


def _checked_labels(labels: Any) -> Tensor:  # noqa: ANN401 - whatever torch makes a tensor of
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        got = str(tensor.dtype)
        raise DatasetError("dataset_wrong_dtype", "the labels are not whole numbers", got=got, expected="int64")
    return tensor.to(torch.int64)
