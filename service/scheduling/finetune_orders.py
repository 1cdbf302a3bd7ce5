"""Which trials are fine-tuned. Every function here works in its caller's transaction, with the study locked."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError
from ranksearch.contracts.finetuning import FineTuneOption
from service.scheduling.artifact_kinds import FINETUNE, HELD, SOURCE_OF
from service.scheduling.artifact_orders import order, source_failed
from service.scheduling.backend import now
from service.scheduling.events import finetune_event
from service.scheduling.finals import best_trials
from service.scheduling.finetune_plans import Plan, plan_of
from service.scheduling.verdicts import Goal
from service.storage.tables import FineTuneRow, JobRow, StudyRow

__all__ = ["OPEN", "order_finetune", "order_option"]

OPEN: Final = frozenset({HELD, "waiting", "leased"})
"""States of a fine-tuning that has not ended."""


def order_option(session: Session, study: StudyRow, goal: Goal, option: FineTuneOption) -> None:
    """What the study's request asks for, once the search is complete."""
    if option.training is None:  # filled in when the study was made
        return
    plan = plan_of(session, option.training, option.recipe)
    for trial in best_trials(session, study, goal, option.top):
        order_finetune(session, study, trial, plan)


def order_finetune(session: Session, study: StudyRow, trial: JobRow, plan: Plan) -> JobRow:
    """Have a trial's network fine-tuned. By the same plan again it is the same; by another one it is made anew.

    Args:
        session: of the transaction.
        study: locked.
        trial: complete: its job, or the one that measured it as a finalist.
        plan: of the training.

    Raises:
        ConflictError: ``finetune_in_progress``: by another plan it is waited for, or running.
    """
    job = _existing(session, study, trial)
    row = None if job is None else session.get(FineTuneRow, job.id)
    if job is not None and row is not None and row.plan != plan.stored():
        if job.state in OPEN:
            raise ConflictError(
                "finetune_in_progress",
                f"trial {trial.trial_number} is being fine-tuned by another recipe, or on other images",
                got=f"state {job.state}",
                expected="one that has ended",
                mend=f"wait for it, or cancel it: POST /v1/studies/{study.id}/finetunes/{job.id}/cancel",
            )
        _forget_result(session, study, job, row)
    made = order(session, study, trial, FINETUNE)
    session.flush()
    if row is None:
        row = FineTuneRow(job_id=made.id, study_id=study.id)
        session.add(row)
    row.plan, row.dataset_id = plan.stored(), plan.training.dataset
    finetune_event(session, study, made)
    return made


def _existing(session: Session, study: StudyRow, trial: JobRow) -> JobRow | None:
    of_trial = (JobRow.study_id == study.id, JobRow.kind == FINETUNE, JobRow.trial_number == trial.trial_number)
    return session.scalars(select(JobRow).where(*of_trial)).first()


def _forget_result(session: Session, study: StudyRow, job: JobRow, row: FineTuneRow) -> None:
    """What came of the plan before, and the files that were made from it: they are of another network."""
    job.state, job.artifact, job.result = "cancelled", None, None
    row.points, row.before, row.after, row.dense = [], None, None, None
    row.checkpoint = row.checkpoint_step = None
    row.resumed = 0
    kinds = [kind for kind, source in SOURCE_OF.items() if source == FINETUNE]
    files = (JobRow.study_id == study.id, JobRow.trial_number == job.trial_number, JobRow.kind.in_(kinds))
    session.execute(
        update(JobRow).where(*files, JobRow.state == "done").values(state="cancelled", artifact=None, result=None)
    )
    source_failed(session, study, job)
    if study.best_tuned and study.best_trial == job.trial_number:
        study.best_tuned = False
    job.finished_at = now(session)
