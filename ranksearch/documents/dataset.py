"""Data set documents: images or other inputs, labels where there are any, and how images are normalised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ranksearch.contracts.dataset_inputs import InputSummary
from ranksearch.contracts.dataset_summaries import DatasetSummary, dataset_summary
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.tensorfile import read_header
from ranksearch.documents.tensor_bytes import read_tensor

__all__ = ["Dataset", "load_data"]


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
        shapes = " and ".join(f"{one.shape}" for one in self.summary.inputs)
        return f"Dataset({len(self)} images of {shapes}, {kind})"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """One image's shape ``(C, H, W)``; of several inputs, the first's."""
        return self.summary.image_shape

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the inputs are called, in their order; ``("images",)`` for images alone."""
        return tuple(one.name for one in self.summary.inputs)

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
        """The images ``[start, stop)`` as they are stored, in the stored layout and dtype; the first of several inputs.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        return self._stored(self.summary.inputs[0], start, stop)

    def images(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The images ``[start, stop)`` as a network takes them; the first of several inputs.

        Stored bytes are divided by 255 first; then, channel by channel, the mean is subtracted and the result
        divided by the standard deviation. An input that is no image is taken as it is stored.

        Returns:
            Float32 of shape ``(stop - start, C, H, W)``, contiguous; of no image, the stored dtype and shape.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        return self._values(self.summary.inputs[0], start, stop)

    def inputs(self, start: int = 0, stop: int | None = None) -> tuple[Tensor, ...]:
        """All inputs of the images ``[start, stop)``, each as :meth:`images` gives the first.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        return tuple(self._values(one, start, stop) for one in self.summary.inputs)

    def batches(
        self, size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Tensor | tuple[Tensor, ...], Tensor | None]]:
        """The images ``[start, stop)`` and their labels, ``size`` at a time; of several inputs a tuple of tensors.

        Raises:
            DatasetError: ``dataset_slice_out_of_range``.
        """
        end = len(self) if stop is None else stop
        for low in range(start, end, size):
            high = min(low + size, end)
            inputs = self.inputs(low, high)
            labels = None if self.labels is None else self.labels[low:high]
            yield inputs[0] if len(inputs) == 1 else inputs, labels

    def _stored(self, one: InputSummary, start: int, stop: int | None) -> Tensor:
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
            return read_tensor(file, self._header, one.tensor, rows=(start, end), error=DatasetError)

    def _values(self, one: InputSummary, start: int, stop: int | None) -> Tensor:
        stored = self._stored(one, start, stop)
        if one.layout is None:
            return stored
        if one.layout == "NHWC":
            stored = stored.permute(0, 3, 1, 2)
        values = stored.to(torch.float32, memory_format=torch.contiguous_format)
        if stored.dtype == torch.uint8:
            values = values / 255
        return (values - torch.tensor(one.mean).view(1, -1, 1, 1)) / torch.tensor(one.std).view(1, -1, 1, 1)


def load_data(path: str | os.PathLike[str]) -> Dataset:
    """Open the data set document at ``path``.

    Raises:
        DatasetError: the document is truncated, too large, malformed, empty, or its labels do not fit.
        OSError: there is no such file, or it may not be read.
    """
    return Dataset(path)
