"""Models, data sets and studies are deleted: each in one transaction, and never what something else needs.

Whoever starts to refer to one of them holds its row meanwhile (:data:`~service.scheduling.backend.HOLD`), so that it
is either seen here or finds nothing. Bytes that nothing refers to any more are a matter of :mod:`.garbage`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_dataset, existing_model, existing_study, uses_dataset
from service.scheduling.backend import Backend, model_topic
from service.scheduling.views import TERMINAL
from service.storage.tables import EventRow, FineTuneRow, IdempotencyRow, JobRow, StudyRow

__all__ = ["delete_dataset", "delete_model", "delete_study"]

log = logging.getLogger(__name__)

_NAMED: Final = 5
"""Studies that a refusal names."""


def delete_model(backend: Backend, caller: Principal, model_id: str) -> None:
    """Delete a model and what waits to inspect it.

    Raises:
        NotFoundError: no such model.
        ConflictError: ``in_use``: a study searches it, or a worker inspects it.
    """
    inspections = select(JobRow).where(JobRow.model_id == model_id, JobRow.study_id.is_(None)).with_for_update()
    with backend.writing() as session:
        existing_model(session, caller, model_id)
        session.scalars(inspections).all()  # jobs before their model, as at their completion
        model = existing_model(session, caller, model_id, lock=True)
        _refuse_if_used(session, "model", model_id, [StudyRow.model_id == model_id])
        jobs = session.scalars(inspections).all()
        if any(job.state == "leased" for job in jobs):
            raise ConflictError(
                "in_use", "a worker is inspecting the model", got=model_id, mend="delete it once that is done"
            )
        for job in jobs:
            session.delete(job)
        session.flush()
        session.delete(model)
        record(session, caller, "model.delete", model_id, name=model.name, sha256=model.sha256)
        Backend.ring_after(session, model_topic(model_id))


def delete_dataset(backend: Backend, caller: Principal, dataset_id: str) -> None:
    """Delete a data set.

    Raises:
        NotFoundError: no such data set.
        ConflictError: ``in_use``: a study uses its images.
    """
    with backend.writing() as session:
        dataset = existing_dataset(session, caller, dataset_id, lock=True)
        uses = [StudyRow.project_id == dataset.project_id, uses_dataset(dataset_id)]
        _refuse_if_used(session, "data set", dataset_id, uses)
        session.delete(dataset)
        record(session, caller, "dataset.delete", dataset_id, name=dataset.name, sha256=dataset.sha256)


def delete_study(backend: Backend, caller: Principal, study_id: str) -> None:
    """Delete a study that has ended, with its trials, events, artifacts and what Optuna has of it.

    Raises:
        NotFoundError: no such study.
        ConflictError: ``in_use``: it has not ended, something is being made of it, or a study that runs learns from it.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        _refuse_if_moving(session, study)
        _refuse_if_learnt_from(session, study)
        for table in (IdempotencyRow, EventRow, FineTuneRow, JobRow):
            session.execute(delete(table).where(table.study_id == study_id))
        session.delete(study)
        record(session, caller, "study.delete", study_id, name=study.name)
        name = study.optuna_study
    backend.records.forget(name)  # who dies before this leaves it to the next collection
    backend.forget_study(study_id)
    log.info("deleted study=%s", study_id)


def _refuse_if_moving(session: Session, study: StudyRow) -> None:
    if study.state not in TERMINAL:
        raise ConflictError(
            "in_use",
            "the study has not ended",
            got=f"state {study.state}",
            expected="a study that has ended",
            mend=f"cancel it first: ranksearch cancel {study.id}",
        )
    leased = select(JobRow.id).where(JobRow.study_id == study.id, JobRow.state == "leased").limit(1)
    if session.scalar(leased) is not None:
        raise ConflictError(
            "in_use",
            "a worker is making something that was asked for of the study",
            got=study.id,
            mend="delete it once that is done",
        )


def _refuse_if_learnt_from(session: Session, study: StudyRow) -> None:
    others = (StudyRow.model_id == study.model_id, StudyRow.state.not_in(TERMINAL))
    requests = session.execute(select(StudyRow.id, StudyRow.request).where(*others)).all()
    learners = [one for one, request in requests if study.id in request.get("from_studies", ())]
    if learners:
        raise _used("study", study.id, learners)


def _refuse_if_used(session: Session, what: str, one: str, uses: Sequence[object]) -> None:
    query = select(StudyRow.id).where(*uses).order_by(StudyRow.created_at).limit(_NAMED + 1)  # type: ignore[arg-type]  # SQL expressions
    studies = session.scalars(query).all()
    if studies:
        raise _used(what, one, studies)


def _used(what: str, one: str, studies: Sequence[str]) -> ConflictError:
    named = ", ".join(studies[:_NAMED]) + (", …" if len(studies) > _NAMED else "")
    return ConflictError(
        "in_use",
        f"studies need this {what}",
        got=f"{one}, needed by {named}",
        mend="delete those first: ranksearch delete STUDY",
        studies=list(studies[:_NAMED]),
    )
