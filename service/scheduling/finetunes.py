"""Fine-tunings as users ask for them: of which trials, how far, and not any more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import ConflictError, EvaluationError, NotFoundError
from ranksearch.contracts.finetuning import FineTune, FineTuneRequest
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.artifact_orders import source_failed
from service.scheduling.backend import Backend, now, profile_of
from service.scheduling.events import artifact_event, finetune_event
from service.scheduling.fairness import let_go, welcome_back
from service.scheduling.finals import best_trials
from service.scheduling.finetune_orders import OPEN, order_finetune
from service.scheduling.finetune_plans import checked_training, plan_of
from service.scheduling.finetune_views import finetune_view, finetunes_of
from service.scheduling.solutions import no_best
from service.scheduling.trial_requests import complete_trial
from service.scheduling.verdicts import goal_of
from service.storage.races import again_when_raced
from service.storage.tables import FineTuneRow, JobRow, StudyRow

__all__ = ["ask_for_finetunes", "cancel_finetune", "finetune", "finetunes"]

_DEFAULT_TOP = 3


@again_when_raced
def ask_for_finetunes(backend: Backend, caller: Principal, study_id: str, wanted: FineTuneRequest) -> Page[FineTune]:
    """Have trials fine-tuned, whatever state their study is in. Asked for again as before, they are the same.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: whose trials.
        wanted: which, on which images, and how.

    Raises:
        NotFoundError: no such study, trial or data set, or no trial is complete yet.
        ConflictError: ``trial_not_complete``, ``finetune_in_progress``.
        InputError: ``finetune_unsupported``, or the images do not fit.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        request, profile = goal_of(study).request, profile_of(session, study.model_id)
        training = checked_training(session, caller, request, wanted.training, profile, hold=True)
        plan = plan_of(session, training, wanted.recipe)
        trials = _wanted_trials(session, study, wanted)
        welcome_back(session, study.user_id)
        jobs = [order_finetune(session, study, trial, plan) for trial in trials]
        numbers = [trial.trial_number for trial in trials]
        record(session, caller, "study.finetune", study.id, trials=numbers)
        return Page(items=[_view(session, study, job) for job in jobs])


def finetunes(backend: Backend, caller: Principal, study_id: str) -> Page[FineTune]:
    """Those of a study, by trial.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        study = existing_study(session, caller, study_id)
        return Page(items=[finetune_view(session, study, job, row) for job, row in finetunes_of(session, study)])


def finetune(backend: Backend, caller: Principal, study_id: str, finetune_id: str) -> FineTune:
    """One of them.

    Raises:
        NotFoundError: no such study, or no such fine-tuning of it.
    """
    with backend.reading() as session:
        study = existing_study(session, caller, study_id)
        return _view(session, study, _existing(session, study, finetune_id))


@again_when_raced
def cancel_finetune(backend: Backend, caller: Principal, study_id: str, finetune_id: str) -> FineTune:
    """Stop one; its checkpoint stays, and asked for again by the same recipe it goes on there.

    Raises:
        NotFoundError: no such study, or no such fine-tuning of it.
        ConflictError: ``finetune_ended``.
    """
    with backend.writing() as session:
        study = existing_study(session, caller, study_id, lock=True)
        job = _existing(session, study, finetune_id)
        session.refresh(job, with_for_update=True)
        if job.state not in OPEN | {"cancelled"}:
            raise ConflictError(
                "finetune_ended",
                "the fine-tuning has ended already",
                got=f"state {job.state}",
                expected="one that waits or runs",
            )
        if job.state != "cancelled":
            if job.state == "leased":
                let_go(session, job)
            job.state, job.finished_at = "cancelled", now(session)
            problem = EvaluationError("finetune_cancelled", "the fine-tuning was cancelled by a user")
            job.problem = problem.to_problem()
            source_failed(session, study, job)
            artifact_event(session, study, job)
            finetune_event(session, study, job)
            record(session, caller, "study.finetune_cancel", study.id, trial=job.trial_number)
        return _view(session, study, job)


def _wanted_trials(session: Session, study: StudyRow, wanted: FineTuneRequest) -> Sequence[JobRow]:
    if wanted.trials is not None:
        return [complete_trial(session, study, number) for number in dict.fromkeys(wanted.trials)]
    best = best_trials(session, study, goal_of(study), wanted.top or _DEFAULT_TOP)
    if not best:
        raise no_best(session, study)
    return best


def _existing(session: Session, study: StudyRow, finetune_id: str) -> JobRow:
    row = session.get(FineTuneRow, finetune_id)
    if row is None or row.study_id != study.id:
        raise NotFoundError(
            "finetune_not_found",
            "this study has no such fine-tuning",
            got=finetune_id,
            expected="the id of one of them",
            mend=f"the list says which there are: GET /v1/studies/{study.id}/finetunes",
        )
    return session.get_one(JobRow, finetune_id)


def _view(session: Session, study: StudyRow, job: JobRow) -> FineTune:
    return finetune_view(session, study, job, session.get_one(FineTuneRow, job.id))
