"""How a study ends: completed once everything is measured, or failed.

Every function here works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import EvaluationError, RankSearchError
from service.scheduling.artifact_kinds import DOCUMENT
from service.scheduling.artifact_orders import order
from service.scheduling.backend import now
from service.scheduling.events import artifact_event, study_event
from service.scheduling.fairness import charge_leases
from service.scheduling.finals import call_finalists, nearest_of, settle
from service.scheduling.finetune_choice import choose_network
from service.scheduling.finetune_orders import order_option
from service.scheduling.requested_kinds import REQUESTED
from service.scheduling.stopping import start_clock
from service.scheduling.verdicts import Goal, goal_of
from service.scheduling.views import TERMINAL, Tally, tally_of
from service.storage.tables import JobRow, StudyRow

__all__ = ["end", "fail_study", "finish_if_done"]


def finish_if_done(session: Session, study: StudyRow, tally: Tally | None = None) -> Tally | None:
    """Once nothing of it waits or runs: call the finalists or, when those are measured, too, end it.

    Args:
        session: of the transaction.
        study: locked.
        tally: of its jobs as they are now, where the caller has counted them.

    Returns:
        None where that happened; then the study's event is written. Else how many of its jobs are in which state.
    """
    if tally is None:
        session.flush()
        tally = tally_of(session, study)
    if study.state in TERMINAL or not tally.is_empty:
        return tally
    goal = goal_of(study)
    if study.best_job is None:
        fail_study(session, study, _why_there_is_no_best(session, study, goal))
    elif call_finalists(session, study, goal):
        study_event(session, study)
    else:
        settle(session, study, goal)
        _complete(session, study, goal)
    return None


def fail_study(session: Session, study: StudyRow, problem: RankSearchError | dict[str, object] | None) -> None:
    """End it without an answer."""
    study.problem = problem.to_problem() if isinstance(problem, RankSearchError) else problem
    end(session, study, "failed", str((study.problem or {}).get("detail", "no reason given")))


def end(session: Session, study: StudyRow, state: str, reason: str | None) -> None:
    """Take it into a terminal state; what of its search still waits or runs is cancelled.

    Files and latencies that were asked for are made all the same: what it has found stays.
    """
    session.flush()
    at = now(session)
    charge_leases(session, study, at)
    problem = EvaluationError("trial_cancelled", f"the study was {state} before this trial ended").to_problem()
    searching = JobRow.kind.not_in(REQUESTED)
    left = (JobRow.study_id == study.id, JobRow.state.in_(("waiting", "leased")), searching)
    planned = (JobRow.kind == "trial", JobRow.trial_number.is_not(None))
    session.execute(update(JobRow).where(*left, *planned).values(told=False))
    session.execute(
        update(JobRow)
        .where(*left)
        .values(
            state="cancelled", lease_token=None, leased_at=None, lease_expires_at=None, finished_at=at, problem=problem
        )
    )
    start_clock(session, study)
    study.state, study.reason, study.finished_at = state, reason, at
    study.pause_reason = None
    study_event(session, study)


def _complete(session: Session, study: StudyRow, goal: Goal) -> None:
    best = session.get_one(JobRow, study.best_job)
    end(session, study, "completed", study.reason)
    document = order(session, study, best, DOCUMENT)
    if document.state == "done":  # asked for before, or of a study that was complete before
        artifact_event(session, study, document)
    if goal.request.finetune is not None:
        order_option(session, study, goal, goal.request.finetune)
    if choose_network(session, study):  # of those fine-tuned before it was complete
        study_event(session, study)


def _why_there_is_no_best(session: Session, study: StudyRow, goal: Goal) -> EvaluationError:
    trials = select(JobRow).where(JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "done")
    complete = session.scalars(trials.order_by(JobRow.trial_number)).all()
    ended_early = "" if study.reason is None else f" ({study.reason})"
    if not complete:
        last = _last_problem(session, study) or {}
        words = f", the last failed with: {last['detail']}" if "detail" in last else ""
        return EvaluationError(
            "study_failing", f"no trial completed{words}{ended_early}", mend=last.get("mend"), last=last or None
        )
    _, words = nearest_of(goal, complete)
    return EvaluationError(
        "no_feasible_trial",
        f"none of the {len(complete)} complete trials keeps the bounds; the nearest: {words}{ended_early}",
        expected="a trial within the bounds that are measured",
        mend=f"raise {_bounded(goal)}, name further methods, or give the search more trials",
    )


def _last_problem(session: Session, study: StudyRow) -> dict[str, Any] | None:
    failed = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "failed")
    return session.scalars(select(JobRow.problem).where(*failed).order_by(JobRow.finished_at.desc()).limit(1)).first()


def _bounded(goal: Goal) -> str:
    words = (("max_drop", goal.request.max_drop), ("latency_ms", goal.request.constraints.latency_ms))
    return " or ".join(word for word, bound in words if bound is not None)
