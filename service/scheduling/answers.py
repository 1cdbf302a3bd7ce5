"""What users ask about: lists and single resources."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import undefer

from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.resources import Dataset, Model, Worker
from ranksearch.contracts.studies import Study
from service.access.principal import Principal
from service.access.visibility import (
    existing_dataset,
    existing_model,
    existing_study,
    refers_to_blob,
    uses_dataset,
    visible,
)
from service.scheduling.backend import Backend
from service.scheduling.study_views import study_views
from service.scheduling.views import (
    dataset_view,
    model_view,
    worker_views,
)
from service.scheduling.waiting import why_model_waits
from service.scheduling.workloads import with_workloads
from service.storage.paging import newest_first
from service.storage.tables import DatasetRow, ModelRow, StudyRow, WorkerRow

__all__ = [
    "check_blob",
    "dataset",
    "datasets",
    "model",
    "models",
    "studies",
    "study",
    "workers",
]


def model(backend: Backend, caller: Principal, model_id: str) -> Model:
    """One model, with its profile.

    Raises:
        NotFoundError: no such model.
    """
    with backend.reading() as session:
        row = existing_model(session, caller, model_id, undefer(ModelRow.profile))
        return model_view(session, row, why_model_waits(session, backend, row))


def models(
    backend: Backend, caller: Principal, cursor: str | None, limit: int, *, profiles: bool = True
) -> Page[Model]:
    """Models, newest first; without their profiles, which are large, where nobody looks at them."""
    with backend.reading() as session:
        query = select(ModelRow).where(visible(ModelRow, caller))
        query = query.options(undefer(ModelRow.profile)) if profiles else query
        rows, following = newest_first(session, query, ModelRow, cursor, limit)
        views = [
            model_view(session, row, why_model_waits(session, backend, row), with_profile=profiles) for row in rows
        ]
        return Page(items=views, next=following)


def dataset(backend: Backend, caller: Principal, dataset_id: str) -> Dataset:
    """One data set.

    Raises:
        NotFoundError: no such data set.
    """
    with backend.reading() as session:
        return dataset_view(session, existing_dataset(session, caller, dataset_id))


def datasets(backend: Backend, caller: Principal, cursor: str | None, limit: int) -> Page[Dataset]:
    """Data sets, newest first."""
    with backend.reading() as session:
        query = select(DatasetRow).where(visible(DatasetRow, caller))
        rows, following = newest_first(session, query, DatasetRow, cursor, limit)
        return Page(items=[dataset_view(session, row) for row in rows], next=following)


def study(backend: Backend, caller: Principal, study_id: str) -> Study:
    """One study.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        (view,) = study_views(session, backend, [existing_study(session, caller, study_id)])
        return view


def studies(
    backend: Backend,
    caller: Principal,
    cursor: str | None,
    limit: int,
    state: str | None = None,
    *,
    model: str | None = None,
    dataset: str | None = None,
) -> Page[Study]:
    """Studies, newest first: of one state, of one model, with images of one data set where that is asked for."""
    with backend.reading() as session:
        query = select(StudyRow).where(visible(StudyRow, caller))
        if state is not None:
            query = query.where(StudyRow.state == state)
        if model is not None:
            query = query.where(StudyRow.model_id == model)
        if dataset is not None:
            query = query.where(uses_dataset(dataset))
        rows, following = newest_first(session, query, StudyRow, cursor, limit)
        return Page(items=study_views(session, backend, rows), next=following)


def check_blob(backend: Backend, caller: Principal, sha256: str) -> None:
    """That the caller may have a blob's bytes.

    Raises:
        NotFoundError: nothing that it sees refers to them.
    """
    with backend.reading() as session:
        if not refers_to_blob(session, caller, sha256):
            raise NotFoundError("blob_not_found", "there is no such blob here", got=sha256)


def workers(backend: Backend, caller: Principal) -> Page[Worker]:
    """The workers, the most recently seen first; what they do, as far as it is the caller's."""
    with backend.reading() as session:
        rows = session.scalars(select(WorkerRow).order_by(WorkerRow.last_seen_at.desc(), WorkerRow.id).limit(500))
        views = worker_views(session, backend, caller, rows.all())
        return Page(items=with_workloads(session, views))
