"""The compressed network as a model document."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ranksearch.contracts.jobs import CompressOutcome, CompressTask
from ranksearch.documents import pack
from worker.evaluation.measured import first_image
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch
from worker.evaluation.trial import calibrated

__all__ = ["write_compressed"]


def write_compressed(session: Session, task: CompressTask, files: Mapping[str, Path], output: Path) -> CompressOutcome:
    """Compress and calibrate as the trial did, and write the document into ``output``, named by its sha256.

    Raises:
        DocumentError: the compressed network cannot be packed.
    """
    small = calibrated(session, task, files, Stopwatch(session.device))
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    example = first_image(images).cpu()
    made = output / "document"
    pack(small.cpu(), (example.expand(2, *example.shape[1:]).contiguous(),), made)
    with made.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    made.replace(output / sha256)
    return CompressOutcome(sha256=sha256)
