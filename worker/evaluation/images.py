"""The images of a selection, as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

import proxy
from ranksearch.contracts.dataset_inputs import matched_inputs
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.jobs import DataSelection
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.documents import load_data

__all__ = ["Images"]

_RESIDENT_BYTES = 1 << 30

Batch = tuple[proxy.Inputs, Tensor | None]


class Images:
    """The images of one selection, in batches on a device; kept there where they are few enough.

    Iterating again gives the same batches, which is what makes two trials comparable.

    Args:
        path: a data set document.
        selection: which of its images.
        batch_size: images a batch; the last one may hold fewer.
        device: where the batches are wanted.
        specs: what the network takes: shapes, names and types of its inputs.
        at_once: images that a forward pass may take at once: fewer than a batch where memory is short.

    Raises:
        DatasetError: the document is not usable, its inputs are not the network's, or it holds fewer images than
            selected.
    """

    def __init__(
        self,
        path: Path,
        selection: DataSelection,
        batch_size: int,
        device: torch.device,
        specs: Sequence[TensorSpec],
        at_once: int | None = None,
    ) -> None:
        self._data = load_data(path)
        self._device = device
        self._order = matched_inputs(self._data.summary.inputs, specs)
        self._dtypes: list[torch.dtype] = [getattr(torch, spec.dtype) for spec in specs]
        if selection.stop > len(self._data):
            raise DatasetError(
                "dataset_slice_out_of_range",
                "the selection reaches beyond the data set",
                got=f"images {selection.start} to {selection.stop}",
                expected=f"at most {len(self._data)}",
            )
        edges = range(selection.start, selection.stop, batch_size)
        self._bounds = [(start, min(start + batch_size, selection.stop)) for start in edges]
        self.count = selection.stop - selection.start
        self.at_once = min(at_once or batch_size, batch_size)
        self.are_cut = self.at_once < batch_size
        each = sum(prod(spec.shape) * dtype.itemsize for spec, dtype in zip(specs, self._dtypes, strict=True))
        self._resident = not self.are_cut and self.count * each <= _RESIDENT_BYTES
        self._kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if not self._resident:
            return (self._batch(start, stop) for start, stop in self._bounds)
        if self._kept is None:
            self._kept = [self._batch(start, stop) for start, stop in self._bounds]
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._bounds)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one image, ``(C, H, W)``, input by input."""
        return tuple(self._data.summary.inputs[at].shape for at in self._order)

    def only(self) -> Iterator[proxy.Inputs]:
        """The batches without their labels."""
        return (images for images, _ in self)

    def pieces(self) -> Iterator[proxy.Inputs]:
        """The same, in pieces of at most ``at_once``."""
        return (piece for images in self.only() for piece in images.pieces(self.at_once))

    def _batch(self, start: int, stop: int) -> Batch:
        labels = self._data.labels
        stored = self._data.inputs(start, stop)
        tensors = [stored[at].to(self._device, dtype) for at, dtype in zip(self._order, self._dtypes, strict=True)]
        if self._device.type == "cpu":  # seen on CPUs: factorised networks run twice as fast on this layout
            tensors = [_channels_last(tensor) for tensor in tensors]
        return proxy.Inputs(tuple(tensors)), None if labels is None else labels[start:stop].to(self._device)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor  # noqa: PLR2004 - images
