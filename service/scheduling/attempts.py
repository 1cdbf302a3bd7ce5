"""What becomes of a job whose attempt gave no result: it waits and is tried again, or it has failed.

Another attempt waits, twice as long after each, so that what is broken for a minute does not use up all of them. A
worker that stops politely is no attempt, and its job waits for nothing. A job whose worker or evaluating process died
too often is poison: it fails before it ends a third one.
"""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import EvaluationError
from service.metrics import Metrics
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.events import trial_event
from service.scheduling.fairness import let_go
from service.scheduling.lifecycle import fail_job
from service.scheduling.priorities import PRIORITY
from service.settings import Settings
from service.storage.tables import JobRow, StudyRow

__all__ = ["delay", "hand_back", "wait_again", "wake_for_due_attempts"]

log = logging.getLogger(__name__)

_CRASH = "evaluation_crashed"


def wait_again(session: Session, study: StudyRow | None, job: JobRow, after: float = 0.0) -> None:
    """Put a leased job back into the queue, ahead of new trials, to be given out again ``after`` so many seconds."""
    let_go(session, job)
    job.state = "waiting"
    job.not_before = now(session) + after if after else None
    if job.kind == "trial":
        job.priority = PRIORITY["handed_back"]
        if study is not None and job.trial_number is not None:
            session.flush()
            trial_event(session, study, job)
    Backend.ring_after(session, JOBS)


def wake_for_due_attempts(backend: Backend) -> None:
    """Those who wait for work are not told by the clock that an attempt is due."""
    with backend.reading() as session:
        due = exists().where(JobRow.state == "waiting", JobRow.not_before <= now(session))
        if not session.scalar(select(due)):
            return
    backend.bell.ring(JOBS)


def hand_back(
    session: Session, study: StudyRow | None, job: JobRow, problem: dict[str, Any], settings: Settings
) -> None:
    """An attempt gave no result: wait again, or fail after the last one, or as poison."""
    if problem.get("code") == _CRASH:
        job.crashes += 1
        job.crash_reports = [*(job.crash_reports or []), {"worker": job.worker, "problem": problem}]
        if job.crashes >= settings.max_crashes:
            _fail(session, study, job, _poisoned(job, problem), settings)
            return
    if job.attempts >= settings.max_attempts:
        _fail(session, study, job, _exhausted(job, problem), settings)
        return
    job.problem = problem
    Backend.count_after(session, partial(Metrics.retried, kind=job.kind, code=problem.get("code")))
    wait_again(session, study, job, delay(job.id, job.attempts, settings))


def delay(job: str, attempts: int, settings: Settings) -> float:
    """Seconds until the next attempt after so many: twice as long each time, and no two jobs at the same moment.

    The half that varies is a hash of job and attempt, so that the same job waits as long in every process.
    """
    whole = min(settings.retry_base_seconds * 2.0 ** (attempts - 1), settings.retry_cap_seconds)
    drawn = int.from_bytes(hashlib.sha256(f"{job} {attempts}".encode()).digest()[:4]) / 2**32
    return whole * (1 + drawn) / 2


def _fail(session: Session, study: StudyRow | None, job: JobRow, problem: EvaluationError, settings: Settings) -> None:
    log.warning("job given up job=%s kind=%s attempts=%d crashes=%d", job.id, job.kind, job.attempts, job.crashes)
    let_go(session, job)
    fail_job(session, study, job, problem, settings)


def _exhausted(job: JobRow, last: dict[str, Any]) -> EvaluationError:
    return EvaluationError(
        "attempts_exhausted",
        f"{job.attempts} attempts gave no result; the last: {last.get('detail')}",
        got=last.get("code"),
        mend=str(last["mend"]) if last.get("mend") else "look at the workers' logs",
        last=last,
    )


def _poisoned(job: JobRow, last: dict[str, Any]) -> EvaluationError:
    reports = job.crash_reports or []
    workers = [str(report["worker"]) for report in reports]
    return EvaluationError(
        "trial_poisoned",
        f"the {job.kind} ended {job.crashes} workers or evaluating processes; the last: {last.get('detail')}",
        got=", ".join(workers),
        mend="look at these workers' logs, for memory that ran out first of all; once that is mended: ranksearch retry",
        crashes=reports,
        workers=workers,
    )
