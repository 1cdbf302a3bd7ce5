"""The compressed network as a model document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksearch.contracts.jobs import CompressOutcome, CompressTask
from worker.evaluation.document import write_document
from worker.evaluation.measured import first_image
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch
from worker.evaluation.trial import calibrated, origin_of

__all__ = ["write_compressed"]


def write_compressed(session: Session, task: CompressTask, files: Mapping[str, Path], output: Path) -> CompressOutcome:
    """Compress and calibrate as the trial did, and write the document into ``output``, named by its sha256.

    Raises:
        DocumentError: the compressed network cannot be packed.
    """
    small = session.calibrated.get(origin_of(task)) or calibrated(session, task, files, Stopwatch(session.device))
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    validation = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, dense)
    sha256, parity = write_document(session, small, first_image(images), validation.pieces(), output)
    return CompressOutcome(sha256=sha256, parity=parity)
