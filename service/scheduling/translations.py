"""Model documents that workers make of ONNX files.

A model keeps the file that was uploaded, by which it is known again, and goes on with the document. The service opens
neither: of the document it reads the header, as it does of one that is uploaded.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from ranksearch.contracts.errors import DocumentError, InputError, NotFoundError, RankSearchError
from ranksearch.contracts.jobs import InspectOutcome, OnnxTranslation, Outcome
from ranksearch.contracts.model_summaries import ModelSummary, model_summary
from ranksearch.contracts.tensorfile import read_header_in_parts
from service.access.quota import check_room
from service.scheduling.backend import Backend
from service.scheduling.blob_rows import hold
from service.storage.tables import BlobRow, ModelRow

__all__ = ["read_translation", "take_translation"]


def read_translation(backend: Backend, outcome: Outcome) -> ModelSummary | RankSearchError | None:
    """What the document that an inspection made says of itself, or why it cannot be used; None where it made none.

    Read before the transaction that takes it: a blob never changes, and reading one may take a while.
    """
    if not isinstance(outcome, InspectOutcome) or outcome.translation is None:
        return None
    sha256 = outcome.translation.sha256

    def part(start: int, stop: int) -> bytes:
        return b"".join(backend.blobs.read(sha256, start, stop))

    try:
        return model_summary(read_header_in_parts(part, backend.blobs.size(sha256)))
    except (DocumentError, NotFoundError) as problem:
        return problem


def take_translation(
    session: Session,
    model: ModelRow,
    translation: OnnxTranslation | None,
    summary: ModelSummary | RankSearchError | None,
) -> None:
    """From now on the model is the document.

    Args:
        session: of the transaction.
        model: whose file was inspected.
        translation: what the inspection made; None where it was of a document.
        summary: as :func:`read_translation` found it.

    Raises:
        DocumentError: it is no usable document.
        InputError: a document was made where there is one, or none where there is none.
        NotFoundError: it was not uploaded.
        UnavailableError: ``quota_exceeded``.
    """
    if (model.source is None or model.document is not None) is not (translation is None):
        raise InputError(
            "invalid_request",
            "the outcome does not fit what was to be inspected",
            got="a model document" if translation else "no model document",
            expected="a model document of an ONNX file, and of nothing else",
            mend="update that worker",
        )
    if translation is None:
        return
    if isinstance(summary, DocumentError):
        raise summary
    if not isinstance(summary, ModelSummary) or not hold(session, translation.sha256):
        raise NotFoundError(
            "blob_not_found",
            "the model document that was made is not here",
            got=translation.sha256,
            mend=f"upload it first: PUT /v1/blobs/{translation.sha256}",
        )
    check_room(session, model.project_id, translation.sha256, session.get_one(BlobRow, translation.sha256).size)
    model.document, model.summary = translation.sha256, summary.model_dump(mode="json")
    model.source = {**(model.source or {}), **translation.model_dump(mode="json", exclude={"sha256"})}
