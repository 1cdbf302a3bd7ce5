"""What ends a study before all its trials are made: its time is up, nothing gets better, or it has what it wanted.

What waits and was never planned is dropped; planned trials that wait are run, and running ones finish. Every function
here works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.studies import StopReason
from service.scheduling.backend import now
from service.scheduling.fronts import front
from service.scheduling.verdicts import Goal, result_of
from service.storage.tables import JobRow, StudyRow

__all__ = ["add_reason", "start_clock", "stop_clock", "stop_if_answered", "stop_if_overdue"]


def stop_if_answered(session: Session, study: StudyRow, goal: Goal, job: JobRow) -> bool:
    """After a trial: drop the rest where it reached the target, or where nothing got better for long."""
    if study.stopped_by is not None:
        return False
    target, plateau = goal.request.target, goal.request.plateau
    kept = job.state == "done" and job.feasible is not False
    if target is not None and kept and goal.attains(result_of(job), target):
        words = f"trial {job.trial_number} reached the target: {goal.metric} {job.value:.4g}, wanted {target:.4g}"
        return _stop(session, study, "target", words)
    if plateau is not None and _without_a_better_one(session, study, goal) >= plateau:
        return _stop(session, study, "plateau", f"no trial of the last {plateau} was better")
    return False


def stop_if_overdue(session: Session, study: StudyRow) -> bool:
    """Drop the rest where the study's time, by the database's clock and without its pauses, is up."""
    timeout = study.request.get("timeout")
    if timeout is None or study.started_at is None or study.stopped_by is not None or study.paused_at is not None:
        return False
    if now(session) < study.started_at + study.paused_seconds + timeout:
        return False
    return _stop(session, study, "timeout", f"its {timeout:g} seconds are over")


def stop_clock(session: Session, study: StudyRow) -> None:
    """From now on time does not count for the study's timeout."""
    study.paused_at = now(session)


def start_clock(session: Session, study: StudyRow, since: float | None = None) -> None:
    """Time counts again; what passed since the clock was stopped, or ``since``, never will."""
    stopped = study.paused_at if since is None else since
    if stopped is not None and study.started_at is not None:
        study.paused_seconds += max(0.0, now(session) - max(stopped, study.started_at))
    study.paused_at = None


def add_reason(study: StudyRow, words: str) -> None:
    """Say one more thing about how the study went."""
    study.reason = words if study.reason is None else f"{study.reason}; {words}"


def _without_a_better_one(session: Session, study: StudyRow, goal: Goal) -> int:
    """How many trials that were made after the latest improvement have been measured.

    By number, and not by time, because trials come back in any order: one that was planned before the improvement
    says nothing about what came of it.
    """
    latest = _latest_improvement(session, study, goal)
    if latest is None:
        return 0
    later = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.trial_number > latest)
    return session.scalar(select(func.count()).where(*later, JobRow.state.in_(("done", "pruned")))) or 0


def _latest_improvement(session: Session, study: StudyRow, goal: Goal) -> int | None:
    """The best trial's number; with several objectives the last of those on the front."""
    if len(goal.request.objectives) == 1:
        return study.best_trial
    kept = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "done")
    trials = session.scalars(
        select(JobRow).where(*kept, JobRow.feasible.is_not(False)).order_by(JobRow.trial_number)
    ).all()
    members = front([goal.losses(result_of(trial)) for trial in trials])
    return max((trials[member].trial_number or 0 for member in members), default=None)


def _stop(session: Session, study: StudyRow, by: StopReason, words: str) -> bool:
    """Drop what was never planned; False where there is nothing of that kind, and so nothing to stop."""
    session.flush()
    waiting = (
        JobRow.study_id == study.id,
        JobRow.kind == "trial",
        JobRow.state == "waiting",
        JobRow.trial_number.is_(None),
    )
    if session.scalars(select(JobRow.id).where(*waiting).limit(1)).first() is None:
        return False
    problem = EvaluationError("trial_cancelled", f"this trial was not made: {words}").to_problem()
    session.execute(update(JobRow).where(*waiting).values(state="cancelled", finished_at=now(session), problem=problem))
    study.stopped_by = by
    add_reason(study, f"ended early: {words}")
    return True
