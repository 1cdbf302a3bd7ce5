"""Documents and blobs that have arrived become resources.

Atomicity: the blob, its row and the resource's row come together or not at all. A blob that was new is taken back
when the rows cannot be written; a document that is refused never becomes a blob.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.dataset_summaries import check_dataset_values
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.contracts.onnxfile import is_onnx
from ranksearch.contracts.resources import Blob, Dataset, Model
from service.access.audit import record
from service.access.principal import Principal
from service.access.quota import check_room
from service.scheduling.backend import Backend, now
from service.scheduling.blob_rows import store
from service.scheduling.inspection import queue_inspection
from service.scheduling.views import dataset_view, model_view
from service.scheduling.waiting import why_model_waits
from service.storage.blobs import Incoming
from service.storage.identifiers import new_id
from service.storage.races import again_when_raced
from service.storage.tables import DatasetRow, ModelRow

__all__ = ["take_blob", "take_dataset", "take_model"]


@again_when_raced
def take_blob(backend: Backend, incoming: Incoming) -> tuple[Blob, bool]:
    """Make it a blob; the flag says whether it is new."""

    def insert(_session: Session, blob: Blob, new: bool) -> tuple[Blob, bool]:  # noqa: FBT001 - the callback's shape
        return blob, new

    return store(backend, incoming, insert)


@again_when_raced
def take_model(backend: Backend, caller: Principal, incoming: Incoming, name: str) -> tuple[Model, bool]:
    """Make it a model and queue its inspection; the same file again is, in one project, the same model.

    An ONNX file is recognised by its shape alone: it is opened by the worker that inspects it, which makes a model
    document of it. A model whose inspection failed is inspected anew.

    Raises:
        DocumentError: it is not a usable model document.
        OnnxError: it begins as an ONNX file, and is damaged or too large.
        UnavailableError: ``quota_exceeded``.
    """
    incoming.seal()
    source = {"format": "onnx"} if is_onnx(incoming.path) else None
    summary = {} if source else summarise_model(incoming.path).model_dump(mode="json")

    def insert(session: Session, blob: Blob, _new: bool) -> tuple[Model, bool]:  # noqa: FBT001 - the callback's shape
        at = now(session)
        row = session.scalars(select(ModelRow).filter_by(project_id=caller.project, sha256=blob.sha256)).first()
        created = row is None
        if row is None:
            check_room(session, caller.project, blob.sha256, blob.size)
            row = ModelRow(
                id=new_id("mdl"),
                name=name,
                project_id=caller.project,
                user_id=caller.user,
                sha256=blob.sha256,
                state="inspecting",
                source=source,
                summary=summary,
                profile=None,
                problem=None,
                created_at=at,
            )
            session.add(row)
            record(session, caller, "model.upload", row.id, name=name, sha256=blob.sha256, bytes=blob.size)
        if created or row.state == "failed":
            queue_inspection(session, row)
        return model_view(session, row, why_model_waits(session, backend, row)), created

    return store(backend, incoming, insert)


@again_when_raced
def take_dataset(backend: Backend, caller: Principal, incoming: Incoming, name: str) -> tuple[Dataset, bool]:
    """Make it a data set; the same document again is, in one project, the same data set.

    Raises:
        DatasetError: it is not a usable data set document.
        UnavailableError: ``quota_exceeded``.
    """
    incoming.seal()
    summary = check_dataset_values(incoming.path)

    def insert(session: Session, blob: Blob, _new: bool) -> tuple[Dataset, bool]:  # noqa: FBT001 - the callback's shape
        row = session.scalars(select(DatasetRow).filter_by(project_id=caller.project, sha256=blob.sha256)).first()
        created = row is None
        if row is None:
            check_room(session, caller.project, blob.sha256, blob.size)
            row = DatasetRow(
                id=new_id("dts"),
                name=name,
                project_id=caller.project,
                user_id=caller.user,
                sha256=blob.sha256,
                summary=summary.model_dump(mode="json"),
                created_at=now(session),
            )
            session.add(row)
            record(session, caller, "dataset.upload", row.id, name=name, sha256=blob.sha256, bytes=blob.size)
            session.flush()
        return dataset_view(session, row), created

    return store(backend, incoming, insert)
