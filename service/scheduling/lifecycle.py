"""A study's life: what each thing that happens to it leads to.

Every function here works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, RankSearchError
from ranksearch.contracts.studies import Study
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.metrics import Metrics
from service.scheduling.artifact_kinds import FINETUNE
from service.scheduling.artifact_orders import source_failed
from service.scheduling.backend import Backend, locked_study, now
from service.scheduling.endings import end, fail_study, finish_if_done
from service.scheduling.events import artifact_event, finetune_event, latency_event, study_event, trial_event
from service.scheduling.finals import order_of, take_as_best
from service.scheduling.inspection import give_up_inspection
from service.scheduling.pausing import pause_if_failing
from service.scheduling.requested_kinds import LATENCY
from service.scheduling.stopping import add_reason, stop_if_answered, stop_if_overdue
from service.scheduling.verdicts import goal_of
from service.scheduling.views import TERMINAL, Tally, study_view, tally_of
from service.settings import Settings
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, ModelRow, StudyRow

__all__ = [
    "after_baseline",
    "after_final",
    "after_sensitivity",
    "after_trial",
    "begin",
    "cancel",
    "end_if_overdue",
    "fail_job",
    "stop_overdue",
]

log = logging.getLogger(__name__)


def begin(session: Session, study: StudyRow) -> None:
    """Its first job was claimed."""
    if study.state == "queued":
        study.state, study.started_at = "running", now(session)
        study_event(session, study)


def after_baseline(session: Session, study: StudyRow) -> None:
    """The dense network was measured."""
    study_event(session, study, "baseline")
    finish_if_done(session, study)


def after_sensitivity(session: Session, study: StudyRow) -> None:
    """The sensitivity of the layers was measured, or could not be."""
    finish_if_done(session, study)


def after_trial(session: Session, study: StudyRow, job: JobRow, settings: Settings) -> None:
    """A trial completed, was stopped early or failed for good; its row says which."""
    session.flush()
    goal, best = goal_of(study), _best(session, study)
    kept = job.state == "done" and job.feasible is not False
    if kept and (best is None or order_of(goal, job) < order_of(goal, best)):
        take_as_best(study, job)
    tally: Tally | None = tally_of(session, study)
    if job.trial_number is not None:
        trial_event(session, study, job)
    if pause_if_failing(session, study, job, settings):
        return
    if stop_if_answered(session, study, goal, job):
        tally = None  # what was not planned is dropped
    _go_on_or_finish(session, study, tally)


def after_final(session: Session, study: StudyRow, job: JobRow) -> None:
    """A finalist was measured on all images, or could not be."""
    session.flush()
    trial = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.trial_number == job.trial_number)
    trial_event(session, study, session.scalars(select(JobRow).where(*trial)).one(), final=job)
    finish_if_done(session, study)


def end_if_overdue(session: Session, study: StudyRow) -> bool:
    """Drop what was never planned where the study's time is up; it ends with what runs, or at once."""
    if study.state in TERMINAL or not stop_if_overdue(session, study):
        return False
    log.info("timeout study=%s", study.id)
    _go_on_or_finish(session, study)
    return True


def stop_overdue(backend: Backend) -> int:
    """End the studies whose time is up, each in a transaction of its own. Returns how many there were."""
    with backend.reading() as session:
        timeout = StudyRow.request["timeout"].as_float()
        running = (StudyRow.state == "running", StudyRow.stopped_by.is_(None))
        ends_at = StudyRow.started_at + StudyRow.paused_seconds + timeout
        overdue = select(StudyRow.id).where(*running, ends_at <= now(session))
        ids = session.scalars(overdue).all()
    return sum(_stop_one(backend, study) for study in ids)


def _stop_one(backend: Backend, study_id: str) -> bool:
    with backend.writing() as session:
        return end_if_overdue(session, locked_study(session, study_id))


def fail_job(
    session: Session,
    study: StudyRow | None,
    job: JobRow,
    problem: RankSearchError | dict[str, object],
    settings: Settings,
) -> None:
    """A job gave no result and will not be tried again; ``study`` is None for an inspection."""
    job.state, job.finished_at = "failed", now(session)
    job.problem = problem.to_problem() if isinstance(problem, RankSearchError) else problem
    Backend.count_after(session, partial(Metrics.failed, kind=job.kind, code=job.problem.get("code")))
    if study is None:
        give_up_inspection(session.get_one(ModelRow, job.model_id), job.problem)
    elif job.kind == "trial":
        after_trial(session, study, job, settings)
    elif job.kind == "baseline":
        fail_study(session, study, job.problem)
    elif job.kind == "final":
        after_final(session, study, job)
    elif job.kind == "sensitivity":
        detail = (job.problem or {}).get("detail", "no reason given")
        add_reason(study, f"the layers' sensitivity could not be estimated, so there is no greedy start: {detail}")
        after_sensitivity(session, study)
    elif job.kind == LATENCY:
        latency_event(session, study, job)
    else:
        artifact_event(session, study, job)
        if job.kind == FINETUNE:
            finetune_event(session, study, job)
            study_event(session, study)
        source_failed(session, study, job)


@again_when_raced
def cancel(backend: Backend, caller: Principal, study_id: str) -> Study:
    """Stop a study: what waits is cancelled, what runs loses its lease. Cancelled again, it stays cancelled.

    Raises:
        NotFoundError: no such study.
        ConflictError: it has ended otherwise.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        if study.state in TERMINAL - {"cancelled"}:
            raise ConflictError(
                "study_finished",
                "the study has ended already",
                got=f"state {study.state}",
                expected="a study that runs",
            )
        if study.state != "cancelled":
            end(session, study, "cancelled", "cancelled by a user")
            record(session, caller, "study.cancel", study.id)
        return study_view(session, study)


def _go_on_or_finish(session: Session, study: StudyRow, tally: Tally | None = None) -> None:
    """Finish it where nothing is left to do; tell how it is either way."""
    tally = finish_if_done(session, study, tally)
    if tally is not None:
        study_event(session, study, tally=tally)


def _best(session: Session, study: StudyRow) -> JobRow | None:
    return None if study.best_job is None else session.get_one(JobRow, study.best_job)
