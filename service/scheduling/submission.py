"""A study is asked for: everything that can be refused is refused here, before anything runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import ConflictError, DatasetError, InputError, NotFoundError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.scheduling.backend import JOBS, Backend, now, profile_of
from service.scheduling.events import study_event
from service.scheduling.views import study_view
from service.scheduling.waiting import why_study_waits
from service.search.feasibility import check_feasible
from service.storage.identifiers import new_id
from service.storage.tables import DatasetRow, IdempotencyRow, JobRow, ModelRow, StudyRow

__all__ = ["PRIORITY", "direction_of", "submit"]

PRIORITY = {"inspect": 0, "baseline": 1, "compress": 2, "handed_back": 3, "trial": 4}
"""Smaller goes first."""


@dataclass(frozen=True)
class _Checked:
    model: ModelRow
    profile: ModelProfile
    metric: Metric
    limits: dict[str, int]
    request: StudyRequest


def direction_of(metric: str) -> Literal["maximize", "minimize"]:
    """Optuna's word for what is better."""
    return "maximize" if metric == "accuracy" else "minimize"


def submit(backend: Backend, request: StudyRequest, key: str | None = None) -> tuple[Study, bool]:
    """Create a study and all its jobs, in one transaction; the flag says whether it is new.

    Args:
        backend: the stores.
        request: what is asked for.
        key: the submission's idempotency key: the same one with the same request gives the same study.

    Raises:
        InputError: it cannot be done as asked.
        NotFoundError: the model or a data set does not exist.
        ConflictError: the model is not inspected, or could not be.
    """
    body = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    with backend.writing() as session:
        earlier = None if key is None else session.get(IdempotencyRow, key)
        if earlier is not None:
            return _same_again(session, backend, earlier, body), False
        checked = _check(session, backend, request)
        study = _insert(session, checked)
        if key is not None:
            session.add(IdempotencyRow(key=key, body_sha256=body, study_id=study.id, created_at=study.created_at))
        study_event(session, study)
        backend.ring_after(session, JOBS)
        view = study_view(session, study, why_study_waits(session, backend, study))
        name, direction = study.optuna_study, direction_of(study.metric)
    backend.records.ensure_study(name, direction)
    return view, True


def _same_again(session: Session, backend: Backend, earlier: IdempotencyRow, body: str) -> Study:
    if earlier.body_sha256 != body:
        raise InputError(
            "idempotency_mismatch",
            "this idempotency key was used for another request",
            got=earlier.key,
            expected="one key for one request",
            mend="send the request with a key of its own",
            study=earlier.study_id,
        )
    row = session.get_one(StudyRow, earlier.study_id)
    return study_view(session, row, why_study_waits(session, backend, row))


def _check(session: Session, backend: Backend, request: StudyRequest) -> _Checked:
    model = _inspected_model(session, request.model)
    profile = profile_of(session, model.id)
    calibration, calibrated = _slice(session, "calibration", request.calibration, profile)
    validation, validated = _slice(session, "validation", request.validation, profile)
    _check_apart(calibration, validation)
    metric = request.metric or ("accuracy" if validated.has_labels else "kl")
    _check_labels("calibration", calibrated, profile)
    _check_labels("validation", validated, profile)
    if metric == "accuracy":
        _check_accuracy(validated, profile)
    _check_methods(request.methods)
    space = backend.space(session, model.id, request.methods, request.keep_dense)
    limits = request.constraints.limits(profile.dense)
    check_feasible(space, limits)
    fixed = request.model_copy(update={"calibration": calibration, "validation": validation})
    return _Checked(model, profile, metric, limits, fixed)


def _check_methods(methods: Sequence[Method]) -> None:
    """Checked here and not with the request's other members: studies stored before it was must stay readable."""
    twice = [method for method, count in Counter(methods).items() if count > 1]
    if twice:
        raise InputError(
            "invalid_request",
            "the same method is named more than once",
            got=list(methods),
            expected=f"{', '.join(twice)} once",
            mend=f"send methods {list(dict.fromkeys(methods))}",
        )


def _inspected_model(session: Session, model: str) -> ModelRow:
    row = session.get(ModelRow, model)
    if row is None:
        raise NotFoundError(
            "model_not_found",
            "there is no such model",
            got=model,
            mend="upload it first: POST /v1/models",
        )
    if row.state == "failed":
        problem = row.problem or {}
        raise ConflictError(
            "model_inspection_failed",
            f"the model could not be inspected: {problem.get('detail', 'no reason given')}",
            mend=problem.get("mend") or "mend the model document and upload it again",
            cause=problem,
        )
    if row.state != "ready":
        raise ConflictError(
            "model_not_inspected",
            "the model is not inspected yet",
            got=f"state {row.state}",
            expected="state ready",
            mend=f"wait until GET /v1/models/{model} says ready; a worker must be running",
        )
    return row


def _slice(session: Session, role: str, wanted: DataSlice, profile: ModelProfile) -> tuple[DataSlice, DatasetSummary]:
    """The slice with its end filled in, and its data set."""
    row = session.get(DatasetRow, wanted.dataset)
    if row is None:
        raise NotFoundError(
            "dataset_not_found",
            f"there is no such data set ({role})",
            got=wanted.dataset,
            mend="upload it first: POST /v1/datasets",
        )
    summary = DatasetSummary.model_validate(row.summary)
    stop = summary.count if wanted.stop is None else wanted.stop
    if stop > summary.count or wanted.start >= stop:
        raise DatasetError(
            "dataset_slice_out_of_range",
            f"the {role} images reach beyond the data set",
            got=f"{wanted.start} to {stop}",
            expected=f"within 0 to {summary.count}",
        )
    shape = list(summary.image_shape)
    if profile.input_shapes != [shape]:
        raise DatasetError(
            "dataset_shape_mismatch",
            f"the {role} images do not have the shape that the model takes",
            got=shape,
            expected=profile.input_shapes[0] if len(profile.input_shapes) == 1 else "a model with one input",
            mend="pack the images at the model's size, or pack the model with an example of the images' size",
        )
    return DataSlice(dataset=wanted.dataset, start=wanted.start, stop=stop), summary


def _check_apart(calibration: DataSlice, validation: DataSlice) -> None:
    if calibration.dataset != validation.dataset:
        return
    start = max(calibration.start, validation.start)
    stop = min(calibration.stop or 0, validation.stop or 0)
    if start < stop:
        raise DatasetError(
            "dataset_overlap",
            "calibration and validation images overlap, so the validation would not be held out",
            got=f"both hold the images {start} to {stop}",
            expected="slices that do not overlap",
            mend="give each its own range of the data set",
        )


def _outputs(profile: ModelProfile) -> int | None:
    """The number of class scores; None where the first output is not a row of scores."""
    first = profile.output_shapes[0] if profile.output_shapes else []
    return first[0] if len(first) == 1 else None


def _check_labels(role: str, data: DatasetSummary, profile: ModelProfile) -> None:
    outputs = _outputs(profile)
    if outputs is not None and data.label_max is not None and data.label_max >= outputs:
        raise DatasetError(
            "dataset_labels_out_of_range",
            f"the {role} data set has labels that the model has no output for",
            got=f"label {data.label_max}",
            expected=f"labels 0 to {outputs - 1}",
            mend="use the data set that the model was trained for, with its numbering of the classes",
        )


def _check_accuracy(data: DatasetSummary, profile: ModelProfile) -> None:
    if not data.has_labels:
        raise DatasetError(
            "dataset_labels_missing",
            "accuracy needs labels, and the validation data set has none",
            mend='pack the images with labels, or ask for the metric "kl"',
        )
    if _outputs(profile) is None:
        raise InputError(
            "invalid_request",
            "accuracy needs a model whose output is one score per class",
            got=profile.output_shapes,
            expected="one output of one dimension",
            mend='ask for the metric "kl"',
        )


def _insert(session: Session, checked: _Checked) -> StudyRow:
    request, at, study_id = checked.request, now(session), new_id("sty")
    study = StudyRow(
        id=study_id,
        name=request.name or checked.model.name,
        model_id=checked.model.id,
        state="queued",
        request=request.model_dump(mode="json"),
        metric=checked.metric,
        limits=checked.limits,
        dense=checked.profile.dense.model_dump(),
        n_trials=request.n_trials,
        optuna_study=study_id,
        last_event=0,
        created_at=at,
    )
    session.add(study)
    session.flush()
    shared = {"state": "waiting", "queued_at": at, "study_id": study.id, "model_id": checked.model.id}
    baseline = {"kind": "baseline", "priority": PRIORITY["baseline"], "ordinal": 0, "told": True}
    trial = {"kind": "trial", "priority": PRIORITY["trial"], "told": False}
    rows = [baseline, *(trial | {"ordinal": ordinal} for ordinal in range(request.n_trials))]
    session.execute(insert(JobRow), [{"id": new_id("job"), "attempts": 0, **shared, **row} for row in rows])
    return study
