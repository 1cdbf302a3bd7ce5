"""What users ask about: lists and single resources."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, undefer

from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import InputError, NotFoundError
from ranksearch.contracts.resources import Artifact, Dataset, Model, Worker
from ranksearch.contracts.studies import Study, Trial
from service.scheduling.backend import Backend
from service.scheduling.views import (
    ARTIFACT_NAME,
    artifact_view,
    dataset_view,
    model_view,
    study_view,
    trial_views,
    worker_views,
)
from service.scheduling.waiting import why_model_waits, why_study_waits
from service.storage.tables import DatasetRow, JobRow, ModelRow, StudyRow, WorkerRow

__all__ = [
    "artifacts",
    "dataset",
    "datasets",
    "existing_study",
    "model",
    "models",
    "ready_artifact",
    "studies",
    "study",
    "trial",
    "trials",
    "workers",
]

Row = TypeVar("Row")
View = TypeVar("View")


def model(backend: Backend, model_id: str) -> Model:
    """One model, with its profile.

    Raises:
        NotFoundError: no such model.
    """
    with backend.reading() as session:
        query = select(ModelRow).where(ModelRow.id == model_id).options(undefer(ModelRow.profile))
        row = session.scalars(query).first()
        if row is None:
            raise NotFoundError("model_not_found", "there is no such model", got=model_id)
        return model_view(session, row, why_model_waits(session, backend, row))


def models(backend: Backend, cursor: str | None, limit: int) -> Page[Model]:
    """Models, newest first."""
    with backend.reading() as session:
        query = select(ModelRow).options(undefer(ModelRow.profile))
        rows, following = _page(session, query, ModelRow, cursor, limit)
        views = [model_view(session, row, why_model_waits(session, backend, row)) for row in rows]
        return Page(items=views, next=following)


def dataset(backend: Backend, dataset_id: str) -> Dataset:
    """One data set.

    Raises:
        NotFoundError: no such data set.
    """
    with backend.reading() as session:
        row = session.get(DatasetRow, dataset_id)
        if row is None:
            raise NotFoundError("dataset_not_found", "there is no such data set", got=dataset_id)
        return dataset_view(session, row)


def datasets(backend: Backend, cursor: str | None, limit: int) -> Page[Dataset]:
    """Data sets, newest first."""
    with backend.reading() as session:
        rows, following = _page(session, select(DatasetRow), DatasetRow, cursor, limit)
        return Page(items=[dataset_view(session, row) for row in rows], next=following)


def study(backend: Backend, study_id: str) -> Study:
    """One study.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, study_id)
        return study_view(session, row, why_study_waits(session, backend, row))


def studies(backend: Backend, cursor: str | None, limit: int, state: str | None) -> Page[Study]:
    """Studies, newest first."""
    with backend.reading() as session:
        query = select(StudyRow) if state is None else select(StudyRow).where(StudyRow.state == state)
        rows, following = _page(session, query, StudyRow, cursor, limit)
        views = [study_view(session, row, why_study_waits(session, backend, row)) for row in rows]
        return Page(items=views, next=following)


def trial(backend: Backend, study_id: str, number: int) -> Trial:
    """One planned trial.

    Raises:
        NotFoundError: no such study, or no such trial yet.
    """
    with backend.reading() as session:
        existing_study(session, study_id)
        query = select(JobRow).where(*_planned(study_id), JobRow.trial_number == number)
        row = session.scalars(query).first()
        if row is None:
            raise NotFoundError("trial_not_found", "there is no such trial, or not yet", got=number)
        (view,) = trial_views(session, [row])
        return view


def trials(backend: Backend, study_id: str, cursor: str | None, limit: int) -> Page[Trial]:
    """The planned trials, ascending in number.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        existing_study(session, study_id)
        query = select(JobRow).where(*_planned(study_id)).order_by(JobRow.trial_number).limit(limit + 1)
        if cursor is not None:
            (after,) = _read_cursor(cursor, (int,))
            query = query.where(JobRow.trial_number > after)
        rows = session.scalars(query).all()
        following = _cursor(rows[limit - 1].trial_number) if len(rows) > limit else None
        return Page(items=trial_views(session, rows[:limit]), next=following)


def artifacts(backend: Backend, study_id: str) -> Page[Artifact]:
    """A study's artifacts.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        existing_study(session, study_id)
        query = select(JobRow).where(JobRow.study_id == study_id, JobRow.kind == "compress")
        return Page(items=[artifact_view(session, row) for row in session.scalars(query)])


def ready_artifact(backend: Backend, study_id: str, name: str) -> str:
    """The sha256 of an artifact that can be downloaded.

    Raises:
        NotFoundError: no such study, or no such artifact yet.
    """
    found = [one for one in artifacts(backend, study_id).items if one.name == name]
    blob = found[0].blob if found else None
    if blob is None:
        raise NotFoundError(
            "artifact_not_found",
            f"this study has no such artifact{' yet' if found else ''}",
            got=f"{name}, {found[0].state}" if found else name,
            expected=ARTIFACT_NAME,
            mend="wait until the study is completed and its artifact ready",
        )
    return blob.sha256


def workers(backend: Backend) -> Page[Worker]:
    """The workers, the most recently seen first."""
    with backend.reading() as session:
        rows = session.scalars(select(WorkerRow).order_by(WorkerRow.last_seen_at.desc(), WorkerRow.id).limit(500))
        return Page(items=worker_views(session, backend, rows.all()))


def existing_study(session: Session, study_id: str) -> StudyRow:
    """Its row.

    Raises:
        NotFoundError: no such study.
    """
    row = session.get(StudyRow, study_id)
    if row is None:
        raise NotFoundError("study_not_found", "there is no such study", got=study_id)
    return row


def _planned(study_id: str) -> tuple[Any, ...]:
    return (JobRow.study_id == study_id, JobRow.kind == "trial", JobRow.trial_number.is_not(None))


def _page(
    session: Session,
    query: Select[Row],
    table: Any,  # noqa: ANN401 - a mapped class
    cursor: str | None,
    limit: int,
) -> tuple[list[Row], str | None]:
    """Rows by age, newest first, and the cursor of the next page."""
    if cursor is not None:
        created, row_id = _read_cursor(cursor, (float, str))
        query = query.where(tuple_(table.created_at, table.id) < tuple_(created, row_id))
    rows = list(session.scalars(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)))
    last: Any = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], None if last is None else _cursor(last.created_at, last.id)


def _cursor(*values: float | str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, kinds: tuple[Callable[[Any], Any], ...]) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [kind(value) for kind, value in zip(kinds, values, strict=True)]
    except (binascii.Error, ValueError, TypeError) as problem:
        raise InputError(
            "invalid_request",
            "this cursor is not one of ours",
            got=cursor,
            expected="the `next` of an earlier page",
        ) from problem
