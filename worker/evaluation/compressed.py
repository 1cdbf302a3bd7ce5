"""The compressed network as a model document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksearch.contracts.jobs import CompressOutcome, CompressTask
from ranksearch.documents import load, pack
from worker.evaluation.made import named_by_sha256
from worker.evaluation.measured import first_image
from worker.evaluation.parity import compared, in_full_precision, outputs_of, torch_runtime
from worker.evaluation.session import Session
from worker.evaluation.stopwatch import Stopwatch
from worker.evaluation.trial import calibrated, origin_of

__all__ = ["write_compressed"]


def write_compressed(session: Session, task: CompressTask, files: Mapping[str, Path], output: Path) -> CompressOutcome:
    """Compress and calibrate as the trial did, and write the document into ``output``, named by its sha256.

    The document is read anew and compared with the network in memory: both run here, on the session's device.

    Raises:
        DocumentError: the compressed network cannot be packed.
        EvaluationError: ``artifact_disagrees``: what was written computes something else.
    """
    small = session.calibrated.get(origin_of(task)) or calibrated(session, task, files, Stopwatch(session.device))
    dense = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, dense)
    example = first_image(images).cpu()
    made = output / "document"
    pack(small.cpu(), (example.expand(2, *example.shape[1:]).contiguous(),), made, verify=False)
    sha256 = named_by_sha256(made)
    written = load(output / sha256).to(session.device)
    validation = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, dense)
    with in_full_precision():
        parity = compared(
            outputs_of(small.to(session.device)),
            outputs_of(written),
            validation.pieces(),
            against="network",
            runtimes=torch_runtime(),
        )
    return CompressOutcome(sha256=sha256, parity=parity)
