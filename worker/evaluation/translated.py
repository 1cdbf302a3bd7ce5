"""An ONNX file made a model document, and that document inspected."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.jobs import InspectOutcome, InspectTask, OnnxTranslation
from ranksearch.contracts.resources import Blob
from worker.evaluation.made import named_by_sha256
from worker.evaluation.profile import inspect
from worker.evaluation.session import Session

__all__ = ["inspect_onnx"]

_PACKAGES = ("onnx", "onnxruntime")


def inspect_onnx(session: Session, task: InspectTask, files: Mapping[str, Path], output: Path) -> InspectOutcome:
    """Write the file's document into ``output``, named by its sha256, and compute that one's profile.

    The file is opened here and nowhere else: in the process that is confined.

    Raises:
        OnnxError: the file cannot be made a document.
        DocumentError: a weight of it is not finite.
        EvaluationError: ``onnx_unavailable``.
        ProxyError: the network cannot be run.
    """
    _check_available()
    from ranksearch.documents.from_onnx.packing import translate_onnx  # noqa: PLC0415 - it needs onnx

    made = output / "document"
    told = translate_onnx(files[task.model.sha256], made)
    document = Blob(size=made.stat().st_size, sha256=named_by_sha256(made))
    outcome = inspect(session, InspectTask(model=document), {document.sha256: output / document.sha256})
    translation = OnnxTranslation(
        sha256=document.sha256,
        opset=told.opset,
        producer=told.producer,
        max_relative_difference=told.max_relative_difference or 0.0,
    )
    return outcome.model_copy(update={"translation": translation})


def _check_available() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise EvaluationError(
            "onnx_unavailable",
            "the worker that was given this ONNX file cannot read one",
            got=f"a worker without {', '.join(missing)}",
            expected=f"a worker with {', '.join(_PACKAGES)}",
            mend="on the worker: pip install 'ranksearch[worker]'; then have the model inspected again",
        )
