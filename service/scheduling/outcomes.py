"""A worker hands in what it did.

The result, the study's progress, its next state, the artifact's job and the events are one transaction, fenced by
the lease's token. Optuna is told afterwards, see :mod:`.mirroring`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from sqlalchemy.orm import Session

from ranksearch.contracts.artifacts import ParityReport
from ranksearch.contracts.errors import (
    DocumentError,
    EvaluationError,
    InputError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
)
from ranksearch.contracts.jobs import (
    CompleteRequest,
    CompressOutcome,
    ExportOutcome,
    FailRequest,
    FineTuneOutcome,
    InspectOutcome,
    LatencyOutcome,
    Outcome,
    SensitivityOutcome,
    TrialOutcome,
)
from ranksearch.contracts.loglines import note
from ranksearch.contracts.model_summaries import ModelSummary
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.studies import TrialResult
from service.access.quota import check_room
from service.metrics import Metrics
from service.scheduling.artifact_kinds import EXPORT_FORMATS
from service.scheduling.artifact_orders import source_made
from service.scheduling.attempts import hand_back
from service.scheduling.backend import OPTUNA, Backend, model_topic, now
from service.scheduling.blob_rows import hold
from service.scheduling.events import artifact_event
from service.scheduling.fairness import let_go
from service.scheduling.finetune_progress import trained
from service.scheduling.fleet import larger_worker_there
from service.scheduling.inspection import take_profile
from service.scheduling.latency_orders import take_report
from service.scheduling.leases import check_held, locked_job, study_of
from service.scheduling.lifecycle import after_baseline, after_final, after_sensitivity, after_trial, fail_job
from service.scheduling.planning import space_of_study
from service.scheduling.sensitivity import check_table
from service.scheduling.translations import read_translation, take_translation
from service.scheduling.verdicts import Goal, goal_of, guide_of_pruned, result_of
from service.settings import Settings
from service.storage.races import again_when_raced
from service.storage.tables import BlobRow, JobRow, ModelRow, StudyRow

__all__ = ["complete", "fail"]

log = logging.getLogger(__name__)


@again_when_raced
def complete(backend: Backend, job_id: str, request: CompleteRequest) -> None:
    """Take a result. The same call again does nothing.

    Raises:
        NotFoundError: no such job, or the file that was made was not uploaded.
        ConflictError: ``lease_lost``.
        InputError: the outcome is of another kind than the job.
    """
    translated = read_translation(backend, request.outcome)
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = locked_job(session, job_id, study)
        if job.state in {"done", "pruned"} and job.done_token == request.lease_token:
            return
        check_held(job, request.lease_token)
        outcome = request.outcome
        _check_belongs(job, outcome)
        let_go(session, job)
        job.state, job.finished_at, job.problem = "done", now(session), None
        if isinstance(outcome, InspectOutcome):
            _inspected(session, job, outcome, translated, backend.settings)
        elif study is not None and isinstance(outcome, CompressOutcome | ExportOutcome | FineTuneOutcome):
            _made(session, study, job, outcome, backend.settings)
        elif study is not None and isinstance(outcome, LatencyOutcome):
            take_report(session, study, job, outcome)
        elif study is not None and isinstance(outcome, SensitivityOutcome):
            check_table(space_of_study(session, backend, study), outcome)
            study.sensitivity = {**outcome.change}
            after_sensitivity(session, study)
        elif study is not None and isinstance(outcome, TrialOutcome):
            _measured(session, study, job, outcome, backend.settings)
            backend.ring_after(session, OPTUNA)
        note(study=job.study_id, trial=job.trial_number, worker=job.worker)
        Backend.count_after(session, partial(Metrics.completed, kind=job.kind, seconds=_seconds(job, outcome)))


def _inspected(
    session: Session,
    job: JobRow,
    outcome: InspectOutcome,
    translated: ModelSummary | RankSearchError | None,
    settings: Settings,
) -> None:
    model = session.get_one(ModelRow, job.model_id)
    try:
        take_translation(session, model, outcome.translation, translated)
    except (DocumentError, UnavailableError) as problem:
        fail_job(session, None, job, problem, settings)
    else:
        take_profile(session, model, outcome.profile)
    Backend.ring_after(session, model_topic(model.id))


def _seconds(job: JobRow, outcome: Outcome) -> Mapping[str, float] | None:
    return outcome.result.seconds.model_dump() if isinstance(outcome, TrialOutcome) and job.kind == "trial" else None


@again_when_raced
def fail(backend: Backend, job_id: str, request: FailRequest) -> None:
    """Take the news that there is no result. The same call again does nothing.

    Raises:
        NotFoundError: no such job.
        ConflictError: ``lease_lost``.
    """
    problem = request.problem.model_dump(mode="json", exclude_none=True)
    with backend.writing() as session:
        study = study_of(session, job_id)
        job = locked_job(session, job_id)
        if job.state in {"waiting", "failed"} and job.done_token == request.lease_token:
            return
        check_held(job, request.lease_token)
        note(study=job.study_id, trial=job.trial_number, worker=job.worker)
        log.warning("job failed job=%s kind=%s worker=%s code=%s", job.id, job.kind, job.worker, request.problem.code)
        if request.retry and not _too_large_for_all(session, backend.settings, request.problem):
            hand_back(session, study, job, problem, backend.settings)
        else:
            let_go(session, job)
            fail_job(session, study, job, problem, backend.settings)
        backend.ring_after(session, OPTUNA)


def _too_large_for_all(session: Session, settings: Settings, problem: Problem) -> bool:
    """Whether memory ran out, and no worker has more of it than the one that says so."""
    memory = (problem.extra or {}).get("memory_bytes")
    if problem.code != "evaluation_out_of_memory" or not isinstance(memory, int):
        return False
    return not larger_worker_there(session, settings.worker_away_seconds, memory)


def _check_belongs(job: JobRow, outcome: Outcome) -> None:
    expected = {"final": "trial", **dict.fromkeys(EXPORT_FORMATS, "export")}.get(job.kind, job.kind)
    if outcome.kind != expected:
        raise InputError(
            "invalid_request", "this outcome does not belong to this job", got=outcome.kind, expected=expected
        )
    if isinstance(outcome, TrialOutcome) and outcome.pruned and job.kind != "trial":
        raise InputError(
            "invalid_request",
            f"a {job.kind} is never stopped early",
            got="pruned true",
            expected="a measurement of all its images",
        )


def _made(
    session: Session,
    study: StudyRow,
    job: JobRow,
    outcome: CompressOutcome | ExportOutcome | FineTuneOutcome,
    settings: Settings,
) -> None:
    if not hold(session, outcome.sha256):
        raise NotFoundError(
            "blob_not_found",
            "the file that was made is not here",
            got=outcome.sha256,
            mend=f"upload it first: PUT /v1/blobs/{outcome.sha256}",
        )
    if not outcome.parity.agrees:
        fail_job(session, study, job, _disagrees(outcome.parity), settings)
        return
    try:
        check_room(session, study.project_id, outcome.sha256, session.get_one(BlobRow, outcome.sha256).size)
    except UnavailableError as problem:  # the bytes stay for their grace: made again by then, they cost no upload
        fail_job(session, study, job, problem, settings)
        return
    job.artifact, job.result = outcome.sha256, outcome.parity.model_dump(mode="json")
    if isinstance(outcome, FineTuneOutcome):
        trained(session, study, job, outcome)
    artifact_event(session, study, job)
    source_made(session, study, job)


def _disagrees(report: ParityReport) -> EvaluationError:
    return EvaluationError(
        "artifact_disagrees",
        f"the file that was written does not compute what the {report.reference} does, so it is not handed out",
        got=f"outputs that differ by {report.max_relative_difference} of their range",
        expected=f"at most {report.tolerance:g}",
        mend="take another format, or update the worker",
        parity=report.model_dump(mode="json"),
    )


def _measured(session: Session, study: StudyRow, job: JobRow, outcome: TrialOutcome, settings: Settings) -> None:
    result, stored = outcome.result, outcome.result.model_dump(mode="json", by_alias=True)
    if job.kind == "baseline":
        job.result, job.value, study.dense_result = stored, result.value, stored
        after_baseline(session, study)
        return
    goal = goal_of(study)
    lacking = None if outcome.pruned else goal.lacks(result)
    if lacking is not None:
        problem = EvaluationError("evaluation_failed", lacking, mend="update that worker")
        fail_job(session, study, job, problem, settings)
        return
    job.result, job.value, job.feasible = stored, result.value, goal.feasible(result)
    if job.kind == "final":
        after_final(session, study, job)
        return
    job.guide = goal.guide(result)
    if outcome.pruned:
        job.state, job.guide = "pruned", _guide_of_pruned(session, study, goal, result)
    after_trial(session, study, job, settings)


def _guide_of_pruned(session: Session, study: StudyRow, goal: Goal, result: TrialResult) -> float:
    best = None if study.best_job is None else session.get_one(JobRow, study.best_job)
    if best is not None:
        guide = guide_of_pruned(result.batch_values, result_of(best).batch_values, best.guide)
        if guide is not None:
            return guide
    return goal.guide(result)
