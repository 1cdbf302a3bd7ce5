"""A study is asked for: everything that can be refused is refused here, before anything runs."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import InputError
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import StudyRequest
from service.access.audit import record
from service.access.principal import Principal
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.events import study_event
from service.scheduling.fairness import welcome_back
from service.scheduling.metric_choice import float_outputs
from service.scheduling.priorities import PRIORITY
from service.scheduling.request_checks import CheckedRequest, checked_request
from service.scheduling.study_views import study_views
from service.scheduling.verdicts import goal_of
from service.search.feasibility import check_feasible
from service.storage.identifiers import new_id
from service.storage.races import again_when_raced
from service.storage.tables import IdempotencyRow, JobRow, StudyRow

__all__ = ["check_same_request", "submit"]


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
        checked = checked_request(session, backend, caller, request, hold=True)
        if checked.limits:
            check_feasible(checked.space, checked.limits)
        welcome_back(session, caller.user)
        study = _insert(session, caller, checked)
        if key is not None:
            made = {"body_sha256": body, "study_id": study.id, "created_at": study.created_at}
            session.add(IdempotencyRow(project_id=caller.project, key=key, **made))
        record(session, caller, "study.submit", study.id, name=study.name, n_trials=study.n_trials)
        study_event(session, study)
        backend.ring_after(session, JOBS)
        (view,) = study_views(session, backend, [study])
        name, directions = study.optuna_study, goal_of(study).directions
    backend.records.ensure_study(name, directions)
    return view, True


def check_same_request(earlier: IdempotencyRow, body: str) -> None:
    """That an idempotency key is used for the request again that it was used for.

    Raises:
        InputError: ``idempotency_mismatch``.
    """
    if earlier.body_sha256 != body:
        raise InputError(
            "idempotency_mismatch",
            "this idempotency key was used for another request",
            got=earlier.key,
            expected="one key for one request",
            mend="send the request with a key of its own",
            study=earlier.study_id,
        )


def _same_again(session: Session, backend: Backend, earlier: IdempotencyRow, body: str) -> Study:
    check_same_request(earlier, body)
    row = session.get_one(StudyRow, earlier.study_id)
    (view,) = study_views(session, backend, [row])
    return view


def _insert(session: Session, caller: Principal, checked: CheckedRequest) -> StudyRow:
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
    rows = [{"id": new_id("job"), "attempts": 0, "crashes": 0, **shared, **row} for row in _jobs(checked)]
    session.execute(insert(JobRow), rows)
    return study


def _jobs(checked: CheckedRequest) -> list[dict[str, Any]]:
    request = checked.request
    kinds = ["baseline"]
    if request.needs_sensitivity and float_outputs(checked.profile):
        kinds.append("sensitivity")
    once = [{"kind": kind, "priority": PRIORITY[kind], "ordinal": 0, "told": True} for kind in kinds]
    trial = {"kind": "trial", "priority": PRIORITY["trial"], "told": True}
    return [*once, *(trial | {"ordinal": ordinal} for ordinal in range(request.n_trials))]
