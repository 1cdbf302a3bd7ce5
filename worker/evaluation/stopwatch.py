"""Seconds by part of an evaluation, with the device's queue drained at every boundary."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ranksearch.contracts.studies import Seconds

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures named parts, and the whole from its construction on.

    Args:
        device: kernels queued on it count for the part that queued them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._start = self._now()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a field of :class:`Seconds`."""
        start = self._now()
        try:
            yield
        finally:
            self._parts[name] += self._now() - start

    def seconds(self) -> Seconds:
        """All parts so far."""
        return Seconds(**self._parts, total=self._now() - self._start)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
