"""Rows as the wire shapes that the API answers and that events carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.model_summaries import ModelSummary
from ranksearch.contracts.profiles import Cost, ModelProfile
from ranksearch.contracts.resources import (
    Dataset,
    Model,
    ModelSource,
    Problem,
    SandboxMeasure,
    Worker,
    WorkerState,
)
from ranksearch.contracts.studies import CostShare, Progress, Study, Trial, TrialResult
from service.access.principal import Principal
from service.access.visibility import belonging, visible
from service.scheduling.artifact_kinds import FINETUNE
from service.scheduling.backend import Backend, now
from service.scheduling.blob_views import blob_view
from service.scheduling.finetune_views import tuning_summary
from service.scheduling.requested_kinds import REQUESTED
from service.scheduling.trial_states import TRIAL_STATES
from service.scheduling.verdicts import request_of
from service.storage.clock import moment
from service.storage.tables import DatasetRow, JobRow, ModelRow, StudyRow, WorkerRow

__all__ = [
    "TERMINAL",
    "Tally",
    "dataset_view",
    "model_view",
    "share_view",
    "study_view",
    "tally_of",
    "trial_view",
    "trial_views",
    "worker_views",
]

TERMINAL = frozenset({"completed", "failed", "cancelled"})


def model_view(session: Session, row: ModelRow, waiting_for: str | None = None, *, with_profile: bool = True) -> Model:
    """A model, with its profile where it has one and that is wanted."""
    profile = row.profile if with_profile else None
    return Model(
        id=row.id,
        name=row.name,
        **belonging(session, row),
        blob=blob_view(session, row.document or row.sha256),
        source=None if row.source is None else ModelSource(blob=blob_view(session, row.sha256), **row.source),
        state=row.state,
        waiting_for=waiting_for,
        summary=ModelSummary.model_validate(row.summary) if row.summary else None,
        profile=None if profile is None else ModelProfile.model_validate(profile),
        error=_problem(row.problem),
        created_at=moment(row.created_at),
    )


def dataset_view(session: Session, row: DatasetRow) -> Dataset:
    """A data set."""
    return Dataset(
        id=row.id,
        name=row.name,
        **belonging(session, row),
        blob=blob_view(session, row.sha256),
        summary=DatasetSummary.model_validate(row.summary),
        created_at=moment(row.created_at),
    )


@dataclass(frozen=True)
class Tally:
    """How many jobs of a study are in which state.

    Args:
        jobs: by kind and state.
        cut_short: trials that were cancelled while they were planned or running.
    """

    jobs: Mapping[tuple[str, str], int]
    cut_short: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the search waits or runs any more; what is asked for of its trials is no part of it."""
        return not any(state in {"waiting", "leased"} for kind, state in self.jobs if kind not in REQUESTED)

    @property
    def has_finetunes(self) -> bool:
        """Whether anything was asked to be fine-tuned."""
        return any(kind == FINETUNE for kind, _ in self.jobs)

    def progress(self, study: StudyRow) -> Progress:
        """How many of the study's trials are in which state.

        Trials that were cancelled while they were planned or running count as failed. Those that were never planned
        are dropped where the study ended early by itself; where it was cancelled or failed they count nowhere, and the
        counts add up to less than ``n_trials``.
        """
        trials = {state: count for (kind, state), count in self.jobs.items() if kind == "trial"}
        return Progress(
            n_trials=study.n_trials,
            complete=trials.get("done", 0),
            failed=trials.get("failed", 0) + self.cut_short,
            running=trials.get("leased", 0),
            waiting=trials.get("waiting", 0),
            pruned=trials.get("pruned", 0),
            dropped=0 if study.stopped_by is None else trials.get("cancelled", 0) - self.cut_short,
        )


def tally_of(session: Session, study: StudyRow) -> Tally:
    """The tally of a study's jobs as they are now, counted by an index alone."""
    jobs = {(kind, state): n for kind, state, n in session.execute(_COUNTS, {"study": study.id})}
    cut_short = 0
    if ("trial", "cancelled") in jobs:
        trials = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "cancelled")
        planned = select(func.count()).where(*trials, JobRow.trial_number.is_not(None))
        cut_short = session.scalar(planned) or 0
    return Tally(jobs, cut_short)


def study_view(session: Session, row: StudyRow, waiting_for: str | None = None, tally: Tally | None = None) -> Study:
    """A study; its jobs are counted where the caller has not done so."""
    best = None if row.best_job is None else session.get_one(JobRow, row.best_job).result
    dense = row.dense_result or {}
    tally = tally or tally_of(session, row)
    return Study(
        id=row.id,
        name=row.name,
        **belonging(session, row),
        state=row.state,
        reason=row.pause_reason if row.state == "paused" else row.reason,
        error=_problem(row.problem),
        waiting_for=waiting_for,
        request=request_of(row),
        metric=row.metric,
        limits=row.limits,
        dense=Cost.model_validate(row.dense),
        progress=tally.progress(row),
        stopped_by=row.stopped_by,
        best_value=row.best_value,
        best_trial=row.best_trial,
        best_accuracy=None if best is None else best.get("accuracy"),
        best_cost=None if best is None else Cost.model_validate(best["cost"]),
        dense_value=dense.get("value"),
        dense_accuracy=dense.get("accuracy"),
        tuning=tuning_summary(session, row) if tally.has_finetunes else None,
        optuna_study=row.optuna_study,
        created_at=moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
    )


def trial_views(session: Session, jobs: Sequence[JobRow]) -> list[Trial]:
    """Planned trials of one study.

    Raises:
        NotFoundError: one is not planned yet, and has no number.
    """
    if not jobs:
        return []
    numbers = [job.trial_number for job in jobs]
    rows = session.execute(
        select(JobRow.trial_number, JobRow.result).where(
            JobRow.study_id == jobs[0].study_id,
            JobRow.kind == "final",
            JobRow.state == "done",
            JobRow.trial_number.in_(numbers),
        )
    )
    finals = {number: result for number, result in rows}  # noqa: C416 - mypy cannot see that rows are pairs
    return [trial_view(job, finals.get(job.trial_number)) for job in jobs]


def trial_view(job: JobRow, final: dict[str, Any] | None = None) -> Trial:
    """A planned trial, with the result of its final where that was measured.

    Raises:
        NotFoundError: it is not planned yet, and has no number.
    """
    if job.trial_number is None:
        raise NotFoundError("trial_not_found", "this trial is not planned yet")
    planned = job.planned_macs is not None and job.planned_params is not None
    return Trial(
        number=job.trial_number,
        state=TRIAL_STATES[job.state],
        origin=job.origin,
        ranks=job.ranks,
        planned=Cost(macs=job.planned_macs or 0, params=job.planned_params or 0) if planned else None,
        value=job.value,
        feasible=job.feasible,
        result=None if job.result is None else TrialResult.model_validate(job.result),
        final=None if final is None else TrialResult.model_validate(final),
        error=_problem(job.problem),
        attempts=job.attempts,
        worker=job.worker,
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
    )


def share_view(dense: int, compressed: int) -> CostShare:
    """One cost, dense against compressed."""
    return CostShare(
        dense=dense,
        compressed=compressed,
        fraction=compressed / dense if dense else 1.0,
        compression_ratio=dense / compressed if compressed else 1.0,
    )


def worker_views(session: Session, backend: Backend, caller: Principal, rows: Sequence[WorkerRow]) -> list[Worker]:
    """Workers, and what they are doing; of jobs of other projects than the caller's only that there is one."""
    ids = [row.id for row in rows]
    leased = select(JobRow).where(JobRow.state == "leased", JobRow.worker.in_(ids))
    doing = {job.worker: job for job in session.scalars(leased)}
    of_them = ModelRow.id.in_({job.model_id for job in doing.values()})
    models = set(session.scalars(select(ModelRow.id).where(of_them, visible(ModelRow, caller))))
    shown = {worker: job for worker, job in doing.items() if job.model_id in models}
    seen_since = now(session) - backend.settings.worker_away_seconds
    views = []
    for row in rows:
        away = row.left or row.last_seen_at < seen_since
        state: WorkerState = "away" if away else "draining" if row.draining else "busy" if row.id in doing else "idle"
        views.append(_worker_view(row, shown.get(row.id), state))
    return views


def _worker_view(row: WorkerRow, job: JobRow | None, state: WorkerState) -> Worker:
    return Worker(
        id=row.id,
        name=row.name,
        device=row.device,
        state=state,
        version=row.version,
        labels=row.labels,
        memory_bytes=row.memory_bytes,
        sandbox=[SandboxMeasure.model_validate(measure) for measure in row.sandbox],
        job=None if job is None else job.id,
        study=None if job is None else job.study_id,
        trial=None if job is None else job.trial_number,
        last_seen_at=moment(row.last_seen_at),
    )


def _problem(stored: dict[str, Any] | None) -> Problem | None:
    return None if stored is None else Problem.model_validate(stored)


_COUNTS = (
    select(JobRow.kind, JobRow.state, func.count())
    .where(JobRow.study_id == bindparam("study"))
    .group_by(JobRow.kind, JobRow.state)
)
"""Asked whenever a trial ends: to put it together takes as long as to answer it."""
