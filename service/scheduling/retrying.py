"""Trying again what failed: the failed jobs of a study wait once more, and a study that had ended is taken up again.

A trial keeps its number and its ranks. What was dropped because the study had its answer stays dropped; what was
cancelled when the study failed is made after all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError
from ranksearch.contracts.studies import Study
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.artifact_orders import order
from service.scheduling.backend import JOBS, OPTUNA, Backend
from service.scheduling.events import study_event
from service.scheduling.fairness import welcome_back
from service.scheduling.finals import feasible_trials, order_of, take_as_best
from service.scheduling.finetune_choice import forget_choice
from service.scheduling.latency_orders import measure_again
from service.scheduling.pausing import go_on
from service.scheduling.renewal import wait_anew
from service.scheduling.requested_kinds import LATENCY, REQUESTED
from service.scheduling.stopping import start_clock
from service.scheduling.verdicts import goal_of
from service.scheduling.views import TERMINAL, study_view
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, StudyRow

__all__ = ["retry"]

log = logging.getLogger(__name__)

_KINDS = ("baseline", "trial", "final", *REQUESTED)
"""What can be tried again by itself; a sensitivity table is of no use once trials were made without it."""


@again_when_raced
def retry(backend: Backend, caller: Principal, study_id: str) -> Study:
    """Have all failed jobs of a study done again, with their attempts counted from the beginning.

    Raises:
        NotFoundError: no such study.
        ConflictError: ``nothing_to_retry``; ``study_finished``: it was cancelled.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        failed = _failed(session, study)
        if study.state == "cancelled" and not failed:
            raise ConflictError(
                "study_finished",
                "a cancelled study is not taken up again",
                got="state cancelled",
                expected="a study some of whose trials failed",
                mend="submit it again; with from_studies it learns from this one's trials",
            )
        if not failed:
            raise ConflictError(
                "nothing_to_retry",
                "none of the study's trials failed for good",
                got=f"state {study.state}",
                expected="a study with failed trials, finalists, artifacts or latency reports",
            )
        welcome_back(session, study.user_id)
        _take_up(session, study, failed)
        record(session, caller, "study.retry", study.id, jobs=len(failed))
        log.info("retry study=%s jobs=%d", study.id, len(failed))
        return study_view(session, study)


def _take_up(session: Session, study: StudyRow, failed: Sequence[JobRow]) -> None:
    requested = [job for job in failed if job.kind in REQUESTED]
    unmeasured = [job for job in failed if job.kind not in REQUESTED]
    if unmeasured:
        if study.state in TERMINAL:
            _reopen(session, study)
        go_on(session, study)
        for job in unmeasured:
            wait_anew(job)
        study_event(session, study)
    for job in requested:
        if job.kind == LATENCY:
            measure_again(session, study, job)
        else:
            order(session, study, job, job.kind)
    Backend.ring_after(session, JOBS)
    Backend.ring_after(session, OPTUNA)


def _failed(session: Session, study: StudyRow) -> list[JobRow]:
    """Failed jobs; of a failed study what it took down with it, too; of a cancelled one what was asked for alone."""
    kinds = REQUESTED if study.state == "cancelled" else _KINDS
    again = (JobRow.state == "failed") & JobRow.kind.in_(kinds)
    if study.state == "failed":
        taken_down = JobRow.state == "cancelled"
        if study.stopped_by is not None:  # then what was never planned had been dropped before
            taken_down &= or_(JobRow.kind != "trial", JobRow.trial_number.is_not(None))
        again |= taken_down
    jobs = select(JobRow).where(JobRow.study_id == study.id, again)
    return list(session.scalars(jobs.order_by(JobRow.kind, JobRow.ordinal)))


def _reopen(session: Session, study: StudyRow) -> None:
    """It runs again; its best is one of its trials until finalists are chosen anew, its end is no part of its time."""
    start_clock(session, study, since=study.finished_at)
    study.finished_at = study.reason = None
    forget_choice(study)
    goal = goal_of(study)
    candidates = feasible_trials(session, study)
    if candidates:
        take_as_best(study, min(candidates, key=lambda job: order_of(goal, job)))
