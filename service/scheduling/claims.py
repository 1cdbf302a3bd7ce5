"""A worker asks for work: lease, plan, and put together what it needs to know."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, EvaluationError
from ranksearch.contracts.jobs import (
    BaselineTask,
    ClaimRequest,
    CompressTask,
    DataSelection,
    InspectTask,
    Job,
    Lease,
    Task,
    TrialTask,
)
from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.scheduling.backend import Backend
from service.scheduling.leases import hand_back, held, study_of, take_next
from service.scheduling.planning import plan_trial
from service.scheduling.views import blob_view
from service.storage.tables import DatasetRow, JobRow, ModelRow, StudyRow

__all__ = ["Claimed", "claim"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A leased job, and how many seconds its ranks were sampled for."""

    job: Job
    sampling_seconds: float


def claim(backend: Backend, request: ClaimRequest) -> Claimed | None:
    """The next job, leased; None when there is none.

    A trial that cannot be planned counts as an attempt and goes back, so that it cannot block the queue for ever.
    """
    taken = take_next(backend, request.worker)
    if taken is None:
        return None
    job_id, lease = taken
    try:
        sampling_seconds = plan_trial(backend, job_id, lease.token)
    except ConflictError:  # the study was cancelled while it was planned
        return None
    except Exception:
        log.exception("planning failed job=%s", job_id)
        _give_up(backend, job_id, lease.token)
        raise
    with backend.reading() as session:
        return Claimed(_described(session, session.get_one(JobRow, job_id), lease), sampling_seconds)


def _give_up(backend: Backend, job_id: str, token: str) -> None:
    problem = EvaluationError("evaluation_failed", "the service could not plan this trial; its log says why")
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = held(session, job_id, token)
        hand_back(session, study, job, problem.to_problem(), backend.settings.max_attempts)


def _described(session: Session, job: JobRow, lease: Lease) -> Job:
    trial = job.trial_number if job.kind in {"trial", "compress"} else None
    return Job(
        id=job.id,
        task=_task(session, job),
        attempt=max(1, job.attempts),
        lease=lease,
        study=job.study_id,
        trial=trial,
    )


def _task(session: Session, job: JobRow) -> Task:
    model = blob_view(session, session.get_one(ModelRow, job.model_id).sha256)
    if job.study_id is None:
        return InspectTask(model=model)
    study = session.get_one(StudyRow, job.study_id)
    request = StudyRequest.model_validate(study.request)
    if job.kind == "compress":
        return CompressTask(
            model=model,
            ranks=job.ranks or {},
            calibration=_selection(session, request.calibration),
            batch_size=request.batch_size,
            seed=request.seed,
        )
    validation = _selection(session, request.validation)
    metric = request.metric or study.metric
    if job.kind == "baseline":
        return BaselineTask(
            model=model,
            validation=validation,
            metric=metric,
            batch_size=request.batch_size,
        )
    return TrialTask(
        model=model,
        ranks=job.ranks or {},
        calibration=_selection(session, request.calibration),
        validation=validation,
        metric=metric,
        batch_size=request.batch_size,
        seed=request.seed,
    )


def _selection(session: Session, wanted: DataSlice) -> DataSelection:
    data = session.get_one(DatasetRow, wanted.dataset)
    return DataSelection(blob=blob_view(session, data.sha256), start=wanted.start, stop=wanted.stop or 0)
