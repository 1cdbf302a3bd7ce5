"""Whether a study can be made as it is asked for, against the profile of its model and the images that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, InputError, NotFoundError
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import Principal
from service.scheduling.backend import HOLD, Backend, profile_of
from service.scheduling.data_checks import check_apart, check_label_range, slice_of
from service.scheduling.finetune_plans import checked_training
from service.scheduling.metric_choice import metric_of
from service.search.space import SearchSpace
from service.storage.tables import ModelRow, StudyRow

__all__ = ["CheckedRequest", "checked_request"]


@dataclass(frozen=True)
class CheckedRequest:
    """A request that can be done, and what it comes to.

    Args:
        model: that is searched.
        profile: of the model.
        metric: that trials are judged by.
        limits: its bounds in absolute numbers.
        space: that is searched.
        request: with the ends of its slices filled in.
    """

    model: ModelRow
    profile: ModelProfile
    metric: Metric
    limits: dict[str, float]
    space: SearchSpace
    request: StudyRequest


def checked_request(
    session: Session, backend: Backend, caller: Principal, request: StudyRequest, *, hold: bool
) -> CheckedRequest:
    """What is asked for, checked in everything but whether its bounds can be kept.

    Args:
        session: of the transaction that makes the study, or of one that only looks.
        backend: the stores.
        caller: whose study it is to be; what it refers to must be of the caller's project.
        request: what is asked for.
        hold: whether nobody is to delete what it refers to until the transaction ends.

    Raises:
        InputError: it cannot be done as asked.
        NotFoundError: the model, a data set or a study to learn from does not exist.
        ConflictError: the model is not inspected, or could not be.
    """
    model = _inspected_model(session, caller, request.model, hold=hold)
    profile = profile_of(session, model.id)
    calibration, calibrated = slice_of(session, caller, "calibration", request.calibration, profile, hold=hold)
    validation, validated = slice_of(session, caller, "validation", request.validation, profile, hold=hold)
    check_apart(calibration, validation)
    check_label_range("calibration", calibrated, profile)
    check_label_range("validation", validated, profile)
    metric = metric_of(request, validated, profile)
    _check_drop(request, metric)
    _check_methods(request.methods)
    _check_earlier(session, caller, request, hold=hold)
    limits = _limits(request, profile)
    space = backend.space(session, model.id, request.methods, request.keep_dense, latency=request.measures_latency)
    fixed = request.model_copy(update={"calibration": calibration, "validation": validation})
    if fixed.finetune is not None:
        training = checked_training(session, caller, fixed, fixed.finetune.training, profile, hold=hold)
        option = fixed.finetune.model_copy(update={"training": training})
        fixed = fixed.model_copy(update={"finetune": option})
    return CheckedRequest(model, profile, metric, limits, space, fixed)


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


def _check_earlier(session: Session, caller: Principal, request: StudyRequest, *, hold: bool) -> None:
    """The studies to learn from must be of the same model: ranks of another one mean nothing here."""
    for earlier in request.from_studies:
        row = session.get(StudyRow, earlier, with_for_update=HOLD if hold else None)
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


def _check_drop(request: StudyRequest, metric: Metric) -> None:
    """Accuracy is a share: who writes 2 for two points would be given a network that knows nothing any more."""
    if metric == "accuracy" and request.max_drop is not None and request.max_drop >= 1:
        points = request.max_drop if request.max_drop < 100 else 1.0  # noqa: PLR2004 - of a hundred
        raise InputError(
            "invalid_request",
            "no network can lose so much accuracy, which is a share of the images",
            got=f"max_drop {request.max_drop:g}, {100 * request.max_drop:g} points",
            expected="less than 1",
            mend=f"for {points:g} point{'' if points == 1 else 's'} send max_drop {points / 100:g}",
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


def _inspected_model(session: Session, caller: Principal, model: str, *, hold: bool) -> ModelRow:
    row = session.get(ModelRow, model, with_for_update=HOLD if hold else None)
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
