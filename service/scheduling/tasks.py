"""What a worker is told of the job that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.finetuning import Recipe
from ranksearch.contracts.jobs import (
    BaselineTask,
    CompressTask,
    DataSelection,
    ExportTask,
    FineTuneTask,
    InspectTask,
    Job,
    LatencyTask,
    Lease,
    Race,
    SensitivityTask,
    Task,
    TrialTask,
)
from ranksearch.contracts.resources import Blob
from ranksearch.contracts.study_requests import StudyRequest
from service.scheduling.artifact_kinds import EXPORT_FORMATS, SOURCE_OF
from service.scheduling.backend import Backend
from service.scheduling.blob_views import blob_view
from service.scheduling.finals import has_unseen_images
from service.scheduling.latency_views import settings_of
from service.scheduling.metric_choice import measure_of
from service.scheduling.planning import space_of_study
from service.scheduling.requested_kinds import LATENCY, REQUESTED
from service.scheduling.sensitivity import CALIBRATION_IMAGES, choices_of
from service.scheduling.verdicts import request_of
from service.storage.tables import DatasetRow, FineTuneRow, JobRow, ModelRow, StudyRow

__all__ = ["described"]

_PARITY_IMAGES = 256
"""On which a file is compared with what it was made from: a mistake shows on each of them."""
_SWEEPS = 2
"""A trial on some of the images goes without: they cost more than all else that it does. One on all images is measured
as it would be handed out: there are no finals then."""
_P_VALUE = 0.05
"""Of the test whether a trial is worse than the best: smaller loses fewer good ones, and takes longer."""


def described(session: Session, backend: Backend, study: StudyRow | None, job: JobRow, lease: Lease) -> Job:
    """A leased job with all that its worker needs to know; a trial must be planned, an inspection has no study."""
    trial = job.trial_number if job.kind in {"trial", "final", *REQUESTED} else None
    return Job(
        id=job.id,
        task=_task(session, backend, study, job),
        attempt=max(1, job.attempts),
        lease=lease,
        study=job.study_id,
        trial=trial,
    )


def _task(session: Session, backend: Backend, study: StudyRow | None, job: JobRow) -> Task:
    if study is None:
        return _inspection(session, backend, job)
    request = request_of(study)
    return _TASKS.get(job.kind, _trial)(session, backend, study, request, job)


def _inspection(session: Session, backend: Backend, job: JobRow) -> InspectTask:
    """Of the model document; as long as there is none, of the file that one is to be made of."""
    model = session.get_one(ModelRow, job.model_id)
    if model.source is not None and model.document is None:
        return InspectTask(model=blob_view(session, model.sha256), format="onnx")
    return InspectTask(model=_model(session, backend, job.model_id))


def _baseline(session: Session, backend: Backend, study: StudyRow, request: StudyRequest, _job: JobRow) -> BaselineTask:
    return BaselineTask(
        model=_model(session, backend, study.model_id),
        validation=_selection(session, backend, request.validation),
        metric=study.metric,
        batch_size=request.batch_size,
        measure_latency=request.measures_latency,
    )


def _sensitivity(
    session: Session, backend: Backend, study: StudyRow, request: StudyRequest, _job: JobRow
) -> SensitivityTask:
    return SensitivityTask(
        model=_model(session, backend, study.model_id),
        choices=choices_of(space_of_study(session, backend, study)),
        calibration=_selection(session, backend, request.calibration, CALIBRATION_IMAGES),
        batch_size=request.batch_size,
        seed=request.seed,
        measure=measure_of(study.metric),
    )


def _trial(session: Session, backend: Backend, study: StudyRow, request: StudyRequest, job: JobRow) -> TrialTask:
    """A trial on the search's images, or a finalist on all."""
    searching = job.kind == "trial"
    images = request.search_images
    return TrialTask(
        model=_model(session, backend, study.model_id),
        ranks=job.ranks or {},
        calibration=_selection(session, backend, request.calibration, images.calibration if searching else None),
        validation=_selection(session, backend, request.validation, images.validation if searching else None),
        metric=study.metric,
        batch_size=request.batch_size,
        seed=request.seed,
        level=request.level,
        sweeps=0 if searching and has_unseen_images(request) else _sweeps(request),
        race=_race(session, study, request, job) if searching else None,
        measure_latency=request.measures_latency,
    )


def _compression(
    session: Session, backend: Backend, study: StudyRow, request: StudyRequest, job: JobRow
) -> CompressTask:
    return CompressTask(
        model=_model(session, backend, study.model_id),
        ranks=job.ranks or {},
        calibration=_selection(session, backend, request.calibration),
        validation=_selection(session, backend, request.validation, _PARITY_IMAGES),
        batch_size=request.batch_size,
        seed=request.seed,
        level=request.level,
        sweeps=_sweeps(request),
    )


def _export(session: Session, backend: Backend, study: StudyRow, request: StudyRequest, job: JobRow) -> ExportTask:
    return ExportTask(
        model=_source(session, study, job),
        format=EXPORT_FORMATS[job.kind],
        validation=_selection(session, backend, request.validation, _PARITY_IMAGES),
        batch_size=request.batch_size,
    )


def _training(session: Session, backend: Backend, study: StudyRow, request: StudyRequest, job: JobRow) -> FineTuneTask:
    row = session.get_one(FineTuneRow, job.id)
    training = DataSlice.model_validate(row.plan["training"])
    return FineTuneTask(
        model=_model(session, backend, study.model_id),
        document=_source(session, study, job),
        training=_selection(session, backend, training),
        validation=_selection(session, backend, request.validation),
        recipe=Recipe.model_validate(row.plan["recipe"]),
        batch_size=request.batch_size,
        checkpoint=None if row.checkpoint is None else blob_view(session, row.checkpoint),
        checkpoint_seconds=backend.settings.checkpoint_seconds,
    )


def _source(session: Session, study: StudyRow, job: JobRow) -> Blob:
    """The document that a job starts from, which is there: before that the job is held."""
    of_trial = (JobRow.study_id == study.id, JobRow.trial_number == job.trial_number)
    made = (JobRow.kind == SOURCE_OF[job.kind], JobRow.state == "done")
    document = session.scalars(select(JobRow.artifact).where(*of_trial, *made)).one()
    return blob_view(session, document or "")


def _latency(session: Session, backend: Backend, study: StudyRow, request: StudyRequest, job: JobRow) -> LatencyTask:
    wanted = settings_of(job)
    return LatencyTask(
        model=_model(session, backend, study.model_id),
        ranks=job.ranks or {},
        calibration=_selection(session, backend, request.calibration),
        batch_size=request.batch_size,
        seed=request.seed,
        level=request.level,
        sweeps=_sweeps(request),
        batches=wanted.batches,
        runtimes=wanted.runtimes,
    )


def _sweeps(request: StudyRequest) -> int:
    """Of what is handed out, and of what is measured for that."""
    return _SWEEPS if request.level == "reconstruction" else 0


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


def _model(session: Session, backend: Backend, model: str) -> Blob:
    """The model document, which is there: what is remembered of it never changes."""

    def read() -> Blob:
        row = session.get_one(ModelRow, model)
        return blob_view(session, row.document or row.sha256)

    return backend.documents.of(model, read)


def _selection(session: Session, backend: Backend, wanted: DataSlice, at_most: int | None = None) -> DataSelection:
    """The images of a slice, or the first of them."""
    data = wanted.dataset
    blob = backend.documents.of(data, lambda: blob_view(session, session.get_one(DatasetRow, data).sha256))
    stop = wanted.stop or 0
    if at_most is not None:
        stop = min(stop, wanted.start + at_most)
    return DataSelection(blob=blob, start=wanted.start, stop=stop)


_TASKS: Mapping[str, Callable[[Session, Backend, StudyRow, StudyRequest, JobRow], Task]] = {
    "baseline": _baseline,
    "sensitivity": _sensitivity,
    "compress": _compression,
    "finetune": _training,
    LATENCY: _latency,
    **dict.fromkeys(EXPORT_FORMATS, _export),
}
"""By the kind of the job; the others are trials, on the search's images or on all."""
