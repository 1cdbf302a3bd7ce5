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
    Race,
    SensitivityTask,
    Task,
    TrialTask,
)
from ranksearch.contracts.loglines import note
from ranksearch.contracts.resources import Blob
from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.scheduling.attempts import hand_back
from service.scheduling.backend import Backend
from service.scheduling.leases import held, study_of
from service.scheduling.planning import plan_trial, space_of_study
from service.scheduling.sensitivity import CALIBRATION_IMAGES, VALIDATION_IMAGES, choices_of
from service.scheduling.taking import take_next
from service.scheduling.views import blob_view
from service.storage.tables import DatasetRow, JobRow, ModelRow, StudyRow

__all__ = ["Claimed", "claim"]

log = logging.getLogger(__name__)

_P_VALUE = 0.05
"""Of the test whether a trial is worse than the best: smaller loses fewer good ones, and takes longer."""


@dataclass(frozen=True)
class Claimed:
    """A leased job, and how many seconds its ranks were sampled for."""

    job: Job
    sampling_seconds: float


def claim(backend: Backend, request: ClaimRequest) -> Claimed | None:
    """The next job, leased; None when there is none.

    A trial that cannot be planned counts as an attempt and goes back, so that it cannot block the queue for ever.
    """
    taken = take_next(backend, request)
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
        job = session.get_one(JobRow, job_id)
        backend.metrics.claimed(job.kind, sampling_seconds)
        note(job=job.id, study=job.study_id, trial=job.trial_number, worker=request.worker)
        return Claimed(_described(session, backend, job, lease), sampling_seconds)


def _give_up(backend: Backend, job_id: str, token: str) -> None:
    problem = EvaluationError("evaluation_failed", "the service could not plan this trial; its log says why")
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = held(session, job_id, token)
        hand_back(session, study, job, problem.to_problem(), backend.settings)


def _described(session: Session, backend: Backend, job: JobRow, lease: Lease) -> Job:
    trial = job.trial_number if job.kind in {"trial", "final", "compress"} else None
    return Job(
        id=job.id,
        task=_task(session, backend, job),
        attempt=max(1, job.attempts),
        lease=lease,
        study=job.study_id,
        trial=trial,
    )


def _task(session: Session, backend: Backend, job: JobRow) -> Task:
    if job.study_id is None:
        return InspectTask(model=blob_view(session, session.get_one(ModelRow, job.model_id).sha256))
    study = session.get_one(StudyRow, job.study_id)
    request = StudyRequest.model_validate(study.request)
    match job.kind:
        case "compress":
            return _compression(session, study, request, job)
        case "baseline":
            return _baseline(session, study, request)
        case "sensitivity":
            return _sensitivity(session, backend, study, request)
        case _:
            return _trial(session, study, request, job)


def _baseline(session: Session, study: StudyRow, request: StudyRequest) -> BaselineTask:
    return BaselineTask(
        model=_model(session, study),
        validation=_selection(session, request.validation),
        metric=study.metric,
        batch_size=request.batch_size,
        measure_latency=request.measures_latency,
    )


def _sensitivity(session: Session, backend: Backend, study: StudyRow, request: StudyRequest) -> SensitivityTask:
    return SensitivityTask(
        model=_model(session, study),
        choices=choices_of(space_of_study(session, backend, study)),
        calibration=_selection(session, request.calibration, CALIBRATION_IMAGES),
        validation=_selection(session, request.validation, VALIDATION_IMAGES),
        level=request.level,
        batch_size=request.batch_size,
        seed=request.seed,
    )


def _trial(session: Session, study: StudyRow, request: StudyRequest, job: JobRow) -> TrialTask:
    """A trial on the search's images, or a finalist on all."""
    searching = job.kind == "trial"
    images = request.search_images
    return TrialTask(
        model=_model(session, study),
        ranks=job.ranks or {},
        calibration=_selection(session, request.calibration, images.calibration if searching else None),
        validation=_selection(session, request.validation, images.validation if searching else None),
        metric=study.metric,
        batch_size=request.batch_size,
        seed=request.seed,
        level=request.level,
        race=_race(session, study, request, job) if searching else None,
        measure_latency=request.measures_latency,
    )


def _compression(session: Session, study: StudyRow, request: StudyRequest, job: JobRow) -> CompressTask:
    return CompressTask(
        model=_model(session, study),
        ranks=job.ranks or {},
        calibration=_selection(session, request.calibration),
        batch_size=request.batch_size,
        seed=request.seed,
        level=request.level,
    )


def _race(session: Session, study: StudyRow, request: StudyRequest, job: JobRow) -> Race | None:
    """What a sampled trial has to keep up with. Warm starts are measured to their end: the search stands on them.

    With several objectives, or cost for the objective, a trial that is worse by the metric may still be the best.
    Moments of features are no mean over batches.
    """
    races = request.pruner == "wilcoxon" and request.objectives == ["proxy"] and study.metric != "features"
    if not races or job.origin != "sampler" or study.best_job is None:
        return None
    values = (session.get_one(JobRow, study.best_job).result or {}).get("batch_values")
    return Race(batch_values=values, p_value=_P_VALUE) if values else None


def _model(session: Session, study: StudyRow) -> Blob:
    return blob_view(session, session.get_one(ModelRow, study.model_id).sha256)


def _selection(session: Session, wanted: DataSlice, at_most: int | None = None) -> DataSelection:
    """The images of a slice, or the first of them."""
    data, stop = session.get_one(DatasetRow, wanted.dataset), wanted.stop or 0
    if at_most is not None:
        stop = min(stop, wanted.start + at_most)
    return DataSelection(blob=blob_view(session, data.sha256), start=wanted.start, stop=stop)
