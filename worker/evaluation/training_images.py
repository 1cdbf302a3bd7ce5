"""The images of a training, kept as they are stored, and made the network's inputs batch by batch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ranksearch.contracts.jobs import DataSelection
from ranksearch.documents import load_data

__all__ = ["TrainingImages"]


class TrainingImages:
    """All images of a selection in main memory: bytes stay bytes, a quarter of what floats would take.

    Args:
        path: a data set document.
        selection: which of its images.
        device: of the network.
        dtype: of its inputs.

    Attributes:
        stored: ``(N, C, H, W)`` as they are stored.
        labels: ``(N,)``, or None.

    Raises:
        DatasetError: the document is not usable, or holds fewer images than selected.
    """

    def __init__(self, path: Path, selection: DataSelection, device: torch.device, dtype: torch.dtype) -> None:
        data = load_data(path)
        stored = data.raw(selection.start, selection.stop)
        self.stored: Tensor = stored.permute(0, 3, 1, 2) if data.summary.layout == "NHWC" else stored
        self.labels: Tensor | None = None if data.labels is None else data.labels[selection.start : selection.stop]
        self._dtype = dtype
        self._scale = 255.0 if stored.dtype == torch.uint8 else 1.0
        self._mean, self._std = (
            torch.tensor(value, device=device).view(1, -1, 1, 1) for value in (data.summary.mean, data.summary.std)
        )

    def prepare(self, batch: Tensor) -> Tensor:
        """A batch as the network takes it: as :meth:`ranksearch.documents.Dataset.images`, channels last.

        Args:
            batch: of ``stored`` images, altered, on the network's device.
        """
        values = (batch.float() / self._scale - self._mean) / self._std
        return values.to(self._dtype).contiguous(memory_format=torch.channels_last)
