"""What a training tells on its way, handed on to the service: points of its curve, and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ranksearch.contracts.errors import RankSearchError
from ranksearch.contracts.finetuning import CURVE_POINTS, ProgressRequest, TuningPoint, TuningScore
from ranksearch.contracts.jobs import Job
from worker.protocol import Advance

__all__ = ["ProgressApi", "TrainingReports"]

log = logging.getLogger(__name__)


class ProgressApi(Protocol):
    """The one call this module needs of ``client.jobs``."""

    def progress(self, job: str, told: ProgressRequest, *, patience: float | None = None) -> None:
        """Say how far a fine-tuning is."""


class _Uploads(Protocol):
    def upload(self, path: Path) -> str:
        """Store a file; its sha256."""


class TrainingReports:
    """The reports of one job.

    A service that cannot be reached ends no training: what it was not told comes with the next report, and a
    checkpoint that it does not have is made up for by the next one.

    Args:
        jobs: who is told.
        blobs: where checkpoints go.
        collected: takes a file out of the evaluating process's reach, see :meth:`Evaluator.collected`.
        job: under its lease.
        output: where the evaluating process writes.
    """

    def __init__(
        self,
        jobs: ProgressApi,
        blobs: _Uploads,
        collected: Callable[[Path], AbstractContextManager[Path]],
        job: Job,
        output: Path,
    ) -> None:
        self._jobs, self._blobs, self._collected = jobs, blobs, collected
        self._job, self._output = job, output
        self._points: list[TuningPoint] = []
        self._scores: dict[str, TuningScore | None] = {}
        self._resumed_at: int | None = None

    def tell(self, advance: Advance) -> None:
        """Hand one on."""
        self._points = [*self._points, *advance.points][-CURVE_POINTS:]
        scores = {"before": advance.before, "dense": advance.dense}
        self._scores |= {name: score for name, score in scores.items() if score is not None}
        if advance.resumed_at is not None:
            self._resumed_at = advance.resumed_at
        try:
            checkpoint = None if advance.checkpoint is None else self._stored(advance.checkpoint)
            told = ProgressRequest(
                lease_token=self._job.lease.token,
                points=self._points,
                checkpoint=checkpoint,
                checkpoint_step=None if checkpoint is None else advance.checkpoint_step,
                resumed_at=self._resumed_at,
                **self._scores,
            )
            self._jobs.progress(self._job.id, told, patience=0)
        except (RankSearchError, OSError) as error:  # a lost lease, too, is heard of by whoever renews it
            log.warning("could not tell how far job %s is: %s", self._job.id, error)
            return
        self._points, self._scores, self._resumed_at = [], {}, None

    def _stored(self, name: str) -> str:
        """The child is not to be trusted with paths: a name in its folder, and nothing else."""
        with self._collected(self._output / Path(name).name) as made:
            return self._blobs.upload(made)
