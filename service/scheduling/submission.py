"""A study is asked for: everything that can be refused is refused here, before anything runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, InputError, NotFoundError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import StudyRequest
from service.access.audit import record
from service.access.principal import Principal
from service.scheduling.backend import HOLD, JOBS, Backend, now, profile_of
from service.scheduling.data_checks import check_apart, check_label_range, metric_of, slice_of
from service.scheduling.events import study_event
from service.scheduling.fairness import welcome_back
from service.scheduling.priorities import PRIORITY
from service.scheduling.verdicts import goal_of
from service.scheduling.views import study_view
from service.scheduling.waiting import why_study_waits
from service.search.feasibility import check_feasible
from service.storage.identifiers import new_id
from service.storage.races import again_when_raced
from service.storage.tables import IdempotencyRow, JobRow, ModelRow, StudyRow

__all__ = ["submit"]


@dataclass(frozen=True)
class _Checked:
    model: ModelRow
    profile: ModelProfile
    metric: Metric
    limits: dict[str, float]
    request: StudyRequest


@again_when_raced
def submit(backend: Backend, caller: Principal, request: StudyRequest, key: str | None = None) -> tuple[Study, bool]:
    """Create a study and all its jobs, in one transaction; the flag says whether it is new.

    Args:
        backend: the stores.
        caller: whose study it is; what it refers to must be of the caller's project.
        request: what is asked for.
        key: the submission's idempotency key: the same one with the same request gives the same study.

    Raises:
        InputError: it cannot be done as asked.
        NotFoundError: the model, a data set or a study to learn from does not exist.
        ConflictError: the model is not inspected, or could not be.
    """
    body = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    with backend.writing() as session:
        earlier = None if key is None else session.get(IdempotencyRow, (caller.project, key))
        if earlier is not None:
            return _same_again(session, backend, earlier, body), False
        checked = _check(session, backend, caller, request)
        welcome_back(session, caller.user)
        study = _insert(session, caller, checked)
        if key is not None:
            made = {"body_sha256": body, "study_id": study.id, "created_at": study.created_at}
            session.add(IdempotencyRow(project_id=caller.project, key=key, **made))
        record(session, caller, "study.submit", study.id, name=study.name, n_trials=study.n_trials)
        study_event(session, study)
        backend.ring_after(session, JOBS)
        view = study_view(session, study, why_study_waits(session, backend, study))
        name, directions = study.optuna_study, goal_of(study).directions
    backend.records.ensure_study(name, directions)
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


def _check(session: Session, backend: Backend, caller: Principal, request: StudyRequest) -> _Checked:
    model = _inspected_model(session, caller, request.model)
    profile = profile_of(session, model.id)
    calibration, calibrated = slice_of(session, caller, "calibration", request.calibration, profile)
    validation, validated = slice_of(session, caller, "validation", request.validation, profile)
    check_apart(calibration, validation)
    check_label_range("calibration", calibrated, profile)
    check_label_range("validation", validated, profile)
    metric = metric_of(request, validated, profile)
    _check_methods(request.methods)
    _check_earlier(session, caller, request)
    limits = _limits(request, profile)
    space = backend.space(session, model.id, request.methods, request.keep_dense, latency=request.measures_latency)
    if limits:
        check_feasible(space, limits)
    fixed = request.model_copy(update={"calibration": calibration, "validation": validation})
    return _Checked(model, profile, metric, limits, fixed)


def _limits(request: StudyRequest, profile: ModelProfile) -> dict[str, float]:
    """The bounds in absolute numbers; per cent of a latency are of the dense network's when it was inspected."""
    limits: dict[str, float] = {**request.constraints.limits(profile.dense)}
    if not request.measures_latency:
        return limits
    if profile.latency is None:
        raise InputError(
            "latency_unknown",
            "the model's latency was not measured when it was inspected",
            expected="a profile with latencies",
            mend=f"have the model inspected again: POST /v1/models/{request.model}/inspect; or bound macs instead",
        )
    latency = request.constraints.latency_limit(profile.latency.latency_ms)
    return limits if latency is None else limits | {"latency_ms": latency}


def _check_earlier(session: Session, caller: Principal, request: StudyRequest) -> None:
    """The studies to learn from must be of the same model: ranks of another one mean nothing here."""
    for earlier in request.from_studies:
        row = session.get(StudyRow, earlier, with_for_update=HOLD)
        if row is None or row.project_id != caller.project:
            raise NotFoundError(
                "study_not_found",
                "there is no such study to learn from",
                got=earlier,
                mend="name studies of this project, or leave from_studies empty",
            )
        if row.model_id != request.model:
            raise InputError(
                "invalid_request",
                f"the study {earlier} searched for another model, so nothing can be learnt from it",
                got=f"a study of {row.model_id}",
                expected=f"a study of {request.model}",
                mend=f"remove {earlier} from from_studies",
            )


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


def _inspected_model(session: Session, caller: Principal, model: str) -> ModelRow:
    row = session.get(ModelRow, model, with_for_update=HOLD)
    if row is None or row.project_id != caller.project:
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


def _insert(session: Session, caller: Principal, checked: _Checked) -> StudyRow:
    request, at, study_id = checked.request, now(session), new_id("sty")
    study = StudyRow(
        id=study_id,
        name=request.name or checked.model.name,
        project_id=caller.project,
        user_id=caller.user,
        model_id=checked.model.id,
        priority=request.priority,
        max_parallel=request.max_parallel,
        requirements=request.requirements.model_dump(exclude_defaults=True) or None,
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
    rows = [{"id": new_id("job"), "attempts": 0, "crashes": 0, **shared, **row} for row in _jobs(request)]
    session.execute(insert(JobRow), rows)
    return study


def _jobs(request: StudyRequest) -> list[dict[str, Any]]:
    kinds = ["baseline", *(["sensitivity"] if "greedy" in request.warm_starts else [])]
    once = [{"kind": kind, "priority": PRIORITY[kind], "ordinal": 0, "told": True} for kind in kinds]
    trial = {"kind": "trial", "priority": PRIORITY["trial"], "told": True}
    return [*once, *(trial | {"ordinal": ordinal} for ordinal in range(request.n_trials))]
