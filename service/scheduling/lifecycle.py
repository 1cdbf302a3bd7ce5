"""A study's life: queued, running, and then completed, failed or cancelled.

Every function here works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError, EvaluationError, NotFoundError, RankSearchError
from ranksearch.contracts.studies import Study
from service.scheduling.backend import JOBS, Backend, locked_study, now
from service.scheduling.events import artifact_event, study_event, trial_event
from service.scheduling.submission import PRIORITY
from service.scheduling.views import TERMINAL, progress_of, study_view
from service.storage.identifiers import new_id
from service.storage.tables import JobRow, ModelRow, StudyRow

__all__ = ["after_baseline", "after_trial", "begin", "cancel", "fail_job"]

_HOPELESS = 3
"""So many trials fail, and none completes, until a study gives up."""


def begin(session: Session, study: StudyRow) -> None:
    """Its first job was claimed."""
    if study.state == "queued":
        study.state, study.started_at = "running", now(session)
        study_event(session, study)


def after_baseline(session: Session, study: StudyRow) -> None:
    """The dense network was measured."""
    study_event(session, study, "baseline")
    _finish_if_done(session, study)


def after_trial(session: Session, study: StudyRow, job: JobRow) -> None:
    """A trial completed or failed for good; its row says which."""
    session.flush()
    if job.state == "done" and _is_better(study, job):
        study.best_job, study.best_trial, study.best_value = job.id, job.trial_number, job.value
    if job.trial_number is not None:
        trial_event(session, study, job)
    progress = progress_of(session, study)
    if progress.complete == 0 and progress.failed >= min(_HOPELESS, study.n_trials):
        problem = EvaluationError(
            "study_failing",
            f"the first {progress.failed} trials failed and none completed, the last with: "
            f"{(job.problem or {}).get('detail', 'no reason given')}",
            mend=(job.problem or {}).get("mend"),
            last=job.problem,
        )
        _fail(session, study, problem)
    elif not _finish_if_done(session, study):
        study_event(session, study)


def fail_job(
    session: Session, study: StudyRow | None, job: JobRow, problem: RankSearchError | dict[str, object]
) -> None:
    """A job gave no result and will not be tried again; ``study`` is None for an inspection."""
    job.state, job.finished_at = "failed", now(session)
    job.problem = problem.to_problem() if isinstance(problem, RankSearchError) else problem
    if study is None:
        model = session.get_one(ModelRow, job.model_id)
        model.state, model.problem = "failed", job.problem
    elif job.kind == "trial":
        after_trial(session, study, job)
    elif job.kind == "baseline":
        _fail(session, study, job.problem)
    else:
        artifact_event(session, study, job)


def cancel(backend: Backend, study_id: str) -> Study:
    """Stop a study: what waits is cancelled, what runs loses its lease. Cancelled again, it stays cancelled.

    Raises:
        NotFoundError: no such study.
        ConflictError: it has ended otherwise.
    """
    with backend.writing() as session:
        if session.get(StudyRow, study_id) is None:
            raise NotFoundError("study_not_found", "there is no such study", got=study_id)
        study = locked_study(session, study_id)
        if study.state in TERMINAL - {"cancelled"}:
            raise ConflictError(
                "study_finished",
                "the study has ended already",
                got=f"state {study.state}",
                expected="a study that runs",
            )
        if study.state != "cancelled":
            _end(session, study, "cancelled", "cancelled by a user")
        return study_view(session, study)


def _is_better(study: StudyRow, job: JobRow) -> bool:
    if study.best_value is None or study.best_trial is None:
        return True
    value, number = job.value or 0.0, job.trial_number or 0
    if value == study.best_value:  # the earlier trial wins, whichever came back first
        return number < study.best_trial
    return (value > study.best_value) == (study.metric == "accuracy")


def _finish_if_done(session: Session, study: StudyRow) -> bool:
    session.flush()
    left = select(JobRow.id).where(JobRow.study_id == study.id, JobRow.state.in_(("waiting", "leased")))
    if study.state in TERMINAL or session.scalars(left.limit(1)).first() is not None:
        return False
    best = None if study.best_job is None else session.get_one(JobRow, study.best_job)
    if best is None:  # fewer trials than it takes to give up early
        _fail(session, study, EvaluationError("study_failing", "no trial completed"))
        return True
    _end(session, study, "completed", None)
    job = JobRow(
        id=new_id("job"),
        kind="compress",
        state="waiting",
        priority=PRIORITY["compress"],
        queued_at=study.created_at,
        ordinal=0,
        study_id=study.id,
        model_id=study.model_id,
        trial_number=best.trial_number,
        ranks=best.ranks,
        told=True,
    )
    session.add(job)
    artifact_event(session, study, job)
    Backend.ring_after(session, JOBS)
    return True


def _fail(session: Session, study: StudyRow, problem: RankSearchError | dict[str, object] | None) -> None:
    study.problem = problem.to_problem() if isinstance(problem, RankSearchError) else problem
    _end(session, study, "failed", str((study.problem or {}).get("detail", "no reason given")))


def _end(session: Session, study: StudyRow, state: str, reason: str | None) -> None:
    session.flush()
    at = now(session)
    problem = EvaluationError("trial_cancelled", f"the study was {state} before this trial ended").to_problem()
    left = (JobRow.study_id == study.id, JobRow.state.in_(("waiting", "leased")))
    untouched = (JobRow.trial_number.is_(None), JobRow.attempts == 0)  # Optuna cannot know of these
    session.execute(update(JobRow).where(*left, *untouched).values(told=True))
    session.execute(
        update(JobRow)
        .where(*left)
        .values(state="cancelled", lease_token=None, lease_expires_at=None, finished_at=at, problem=problem)
    )
    study.state, study.reason, study.finished_at = state, reason, at
    study_event(session, study)
