"""A model document written in another format, and compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksearch.contracts.jobs import ExportOutcome, ExportTask
from ranksearch.documents import load
from ranksearch.documents.exporting import export_with_free_batch
from worker.evaluation.made import named_by_sha256
from worker.evaluation.onnx_model import check_available, check_fits, names_of, onnx_runtime, read_onnx, write_onnx
from worker.evaluation.parity import Outputs, compared, outputs_of, torch_runtime
from worker.evaluation.session import Session
from worker.evaluation.torch_program import read_own_program, write_program

__all__ = ["write_exported"]


def write_exported(session: Session, task: ExportTask, files: Mapping[str, Path], output: Path) -> ExportOutcome:
    """Write the document's network into ``output``, named by its sha256.

    Everything happens on the CPU, whatever the session's device: there the file must run anywhere.

    Raises:
        DocumentError: the document is not usable, or cannot be traced.
        EvaluationError: ``export_unavailable``, ``artifact_too_large``, ``export_failed``, or ``artifact_disagrees``.
    """
    if task.format == "onnx":
        check_available()
    network = load(files[task.model.sha256])
    program = export_with_free_batch(network, network.example_inputs())  # type: ignore[operator]  # a DocumentNetwork's
    made, runtimes = output / f"made.{task.format}", torch_runtime()
    written: Outputs
    if task.format == "onnx":
        check_fits(program)
        write_onnx(program, made, *names_of(network))
        written, runtimes = read_onnx(made), runtimes | onnx_runtime()
    else:
        write_program(program, made)
        written = read_own_program(made)
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, network)
    batches = (piece.to("cpu") for piece in images.pieces())
    parity = compared(outputs_of(network), written, batches, against="document", runtimes=runtimes)
    return ExportOutcome(sha256=named_by_sha256(made), parity=parity)
