"""Which latencies are to be measured. Every function here works in its caller's transaction, with the study locked."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError
from ranksearch.contracts.jobs import LatencyOutcome
from ranksearch.contracts.latency import LatencyRequest
from service.scheduling.backend import JOBS, Backend
from service.scheduling.events import latency_event
from service.scheduling.latency_views import measured, settings_of, to_measure
from service.scheduling.renewal import wait_anew
from service.scheduling.requested_kinds import LATENCY
from service.scheduling.trial_jobs import new_trial_job
from service.storage.tables import JobRow, StudyRow

__all__ = ["measure_again", "order_latency", "take_report"]


def order_latency(session: Session, study: StudyRow, trial: JobRow, wanted: LatencyRequest) -> JobRow:
    """Have a trial's latency measured, unless it is already, or about to be, with the same settings.

    Args:
        session: of the transaction.
        study: locked.
        trial: complete: its job, or the one that measured it as a finalist.
        wanted: the settings; a report that was made with others, or that failed, is measured anew in its place.

    Raises:
        ConflictError: ``latency_in_progress``: a worker is measuring with other settings.
    """
    of_trial = (JobRow.study_id == study.id, JobRow.kind == LATENCY, JobRow.trial_number == trial.trial_number)
    job = session.scalars(select(JobRow).where(*of_trial)).first()
    if job is None:
        job = new_trial_job(study, trial, LATENCY, result=to_measure(wanted))
        session.add(job)
    elif _settles(job, wanted):
        return job
    elif job.state == "leased":
        raise _in_progress(job)
    else:
        wait_anew(job)
        job.result = to_measure(wanted)
    _tell(session, study, job)
    return job


def measure_again(session: Session, study: StudyRow, job: JobRow) -> None:
    """Do again, with the settings that it had, what failed."""
    wait_anew(job)
    job.result = to_measure(settings_of(job))
    _tell(session, study, job)


def take_report(session: Session, study: StudyRow, job: JobRow, outcome: LatencyOutcome) -> None:
    """A worker hands in what it has measured."""
    job.result = measured(job, outcome.report)
    latency_event(session, study, job)


def _settles(job: JobRow, wanted: LatencyRequest) -> bool:
    """Whether what is there, or about to be, is what is asked for."""
    settings = settings_of(job)
    if (settings.batches, settings.runtimes) != (wanted.batches, wanted.runtimes):
        return False
    return job.state in {"waiting", "leased"} or (job.state == "done" and not wanted.again)


def _in_progress(job: JobRow) -> ConflictError:
    settings = settings_of(job)
    return ConflictError(
        "latency_in_progress",
        f"the latency of trial {job.trial_number} is being measured with other settings",
        got=f"batches {settings.batches}, runtimes {settings.runtimes}",
        mend="ask again once that is done; it takes a minute or so",
    )


def _tell(session: Session, study: StudyRow, job: JobRow) -> None:
    latency_event(session, study, job)
    Backend.ring_after(session, JOBS)
