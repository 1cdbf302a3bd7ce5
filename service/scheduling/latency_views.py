"""Jobs that measure a latency, as the API answers them and events carry them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.orm import Session

from ranksearch.contracts.artifacts import ArtifactState
from ranksearch.contracts.latency import LatencyComparison, LatencyReport, LatencyRequest
from ranksearch.contracts.latency_verdicts import layers_better_dense, verdict
from ranksearch.contracts.resources import Problem
from service.scheduling.artifact_views import costs_of_trial
from service.storage.clock import moment
from service.storage.tables import JobRow, StudyRow

__all__ = ["latency_view", "measured", "settings_of", "to_measure"]

_STATES: Final[dict[str, ArtifactState]] = {"done": "ready", "failed": "failed", "cancelled": "failed"}


def to_measure(wanted: LatencyRequest) -> dict[str, Any]:
    """What a job's ``result`` is before there is one: what is to be measured."""
    return {"wanted": wanted.model_dump(mode="json", include={"batches", "runtimes"}), "report": None}


def measured(job: JobRow, report: LatencyReport) -> dict[str, Any]:
    """What it is once that was done."""
    return {**(job.result or {}), "report": report.model_dump(mode="json", by_alias=True)}


def settings_of(job: JobRow) -> LatencyRequest:
    """What a job is to measure."""
    return LatencyRequest.model_validate((job.result or {}).get("wanted", {}))


def latency_view(session: Session, job: JobRow) -> LatencyComparison:
    """The report that a job makes."""
    study, wanted = session.get_one(StudyRow, job.study_id), settings_of(job)
    stored = (job.result or {}).get("report")
    report = None if stored is None else LatencyReport.model_validate(stored)
    macs = costs_of_trial(session, study, job).get("macs")
    return LatencyComparison(
        id=job.id,
        state=_STATES.get(job.state, "pending"),
        trial=job.trial_number or 0,
        batches=wanted.batches,
        runtimes=wanted.runtimes,
        report=report,
        verdict=None if report is None else verdict(report, macs),
        leave_dense=[] if report is None else layers_better_dense(report),
        worker=job.worker,
        error=Problem.model_validate(job.problem) if job.state == "failed" and job.problem else None,
        macs=macs,
        finished_at=moment(job.finished_at),
    )
