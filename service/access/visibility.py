"""What a caller sees: the own project's models, data sets and studies.

What belongs to somebody else is answered exactly as what does not exist, so that nobody learns of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import ColumnElement, ScalarSelect, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.orm.interfaces import ORMOption

from ranksearch.contracts.errors import NotFoundError
from service.access.principal import Principal
from service.storage.tables import DatasetRow, FineTuneRow, JobRow, ModelRow, ProjectRow, StudyRow, UserRow

__all__ = [
    "belonging",
    "existing_dataset",
    "existing_model",
    "existing_study",
    "know_names",
    "names_of",
    "projects_of_studies",
    "refers_to_blob",
    "uses_dataset",
    "visible",
]

_NAMES = "names"

Row = TypeVar("Row", ModelRow, DatasetRow, StudyRow)


def visible(table: type[ModelRow | DatasetRow | StudyRow], caller: Principal) -> ColumnElement[bool]:
    """For a query's ``where``: the rows that the caller sees."""
    return true() if caller.sees_all else table.project_id == caller.project


def uses_dataset(dataset: str) -> ColumnElement[bool]:
    """For a query's ``where``: the studies that calibrate, validate or train on its images, or are going to."""
    roles = (("calibration",), ("validation",), ("finetune", "training"))
    asked = (StudyRow.request[(*role, "dataset")].as_string() == dataset for role in roles)
    return or_(*asked, StudyRow.id.in_(select(FineTuneRow.study_id).where(FineTuneRow.dataset_id == dataset)))


def existing_model(
    session: Session, caller: Principal, model: str, *options: ORMOption, lock: bool = False
) -> ModelRow:
    """A model that the caller sees; locked until the transaction ends where asked for.

    Raises:
        NotFoundError: no such model.
    """
    row = session.get(ModelRow, model, options=options, with_for_update=lock or None)
    return _seen(caller, row, NotFoundError("model_not_found", "there is no such model", got=model))


def existing_dataset(session: Session, caller: Principal, dataset: str, *, lock: bool = False) -> DatasetRow:
    """A data set that the caller sees; locked until the transaction ends where asked for.

    Raises:
        NotFoundError: no such data set.
    """
    row = session.get(DatasetRow, dataset, with_for_update=lock or None)
    return _seen(caller, row, NotFoundError("dataset_not_found", "there is no such data set", got=dataset))


def existing_study(session: Session, caller: Principal, study: str, *, lock: bool = False) -> StudyRow:
    """A study that the caller sees; locked until the transaction ends where asked for.

    Raises:
        NotFoundError: no such study.
    """
    row = session.get(StudyRow, study, with_for_update=lock or None)
    return _seen(caller, row, NotFoundError("study_not_found", "there is no such study", got=study))


def belonging(session: Session, row: ModelRow | DatasetRow | StudyRow) -> dict[str, str]:
    """The names of its ``owner`` and its ``project``; each pair is read once a session."""
    known: dict[tuple[str, str], dict[str, str]] = session.info.setdefault(_NAMES, {})
    key = row.user_id, row.project_id
    if key not in known:
        owner, project = session.execute(select(*names_of(*key))).one()
        known[key] = {"owner": owner, "project": project}
    return known[key]


def names_of(
    user: str | InstrumentedAttribute[str], project: str | InstrumentedAttribute[str]
) -> tuple[ScalarSelect[str], ScalarSelect[str]]:
    """The names of a user and a project, by their ids, as columns of a query."""
    owner = select(UserRow.name).where(UserRow.id == user).scalar_subquery()
    return owner, select(ProjectRow.name).where(ProjectRow.id == project).scalar_subquery()


def know_names(session: Session, row: ModelRow | DatasetRow | StudyRow, owner: str, project: str) -> None:
    """For :func:`belonging`: the query that read the row asked for :func:`names_of`, too."""
    session.info.setdefault(_NAMES, {})[row.user_id, row.project_id] = {"owner": owner, "project": project}


def projects_of_studies(session: Session, studies: Collection[str]) -> dict[str, str]:
    """Study → its project, both as ids; without those that do not exist."""
    rows = session.execute(select(StudyRow.id, StudyRow.project_id).where(StudyRow.id.in_(studies)))
    return {study: project for study, project in rows}  # noqa: C416 - mypy cannot see that rows are pairs


def refers_to_blob(session: Session, caller: Principal, sha256: str) -> bool:
    """Whether the caller may have a blob's bytes: a document or an artifact that it sees has them."""
    if caller.sees_all:
        return True
    of_studies = (JobRow.study_id == StudyRow.id, JobRow.artifact == sha256)
    return any(
        session.scalars(query.limit(1)).first() is not None
        for query in (
            select(ModelRow.id).where(ModelRow.sha256 == sha256, visible(ModelRow, caller)),
            select(ModelRow.id).where(ModelRow.document == sha256, visible(ModelRow, caller)),
            select(DatasetRow.id).where(DatasetRow.sha256 == sha256, visible(DatasetRow, caller)),
            select(StudyRow.id).where(*of_studies, visible(StudyRow, caller)),
        )
    )


def _seen(caller: Principal, row: Row | None, missing: NotFoundError) -> Row:
    if row is None or not (caller.sees_all or row.project_id == caller.project):
        raise missing
    return row
