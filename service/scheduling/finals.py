"""Finalists: the best trials, measured again on all images before one of them is chosen.

Every function here works in its caller's transaction, with the study locked.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.study_requests import DataSlice, StudyRequest
from service.scheduling.backend import JOBS, Backend
from service.scheduling.fronts import front
from service.scheduling.stopping import add_reason
from service.scheduling.trial_jobs import new_trial_job
from service.scheduling.verdicts import Goal, result_of
from service.storage.tables import JobRow, StudyRow

__all__ = [
    "best_trials",
    "call_finalists",
    "feasible_trials",
    "has_unseen_images",
    "nearest_of",
    "order_of",
    "settle",
    "take_as_best",
]

_LARGEST_FRONT = 20
"""So many members of a Pareto front are measured again; of a larger one, as many that are spread over it."""


def call_finalists(session: Session, study: StudyRow, goal: Goal) -> bool:
    """Queue the finals of those finalists that have none yet; False where there are none of these."""
    if goal.request.finalists == 0:
        return False
    finalists = _finalists(goal, feasible_trials(session, study))
    again = len(finalists) > 1 and goal.request.measures_latency  # a clock never says the same twice
    if not (again or has_unseen_images(goal.request)):
        return False
    called = {final.trial_number for final in _finals(session, study)}
    new = [trial for trial in finalists if trial.trial_number not in called]
    session.add_all(_final(study, trial) for trial in new)
    Backend.ring_after(session, JOBS)
    return bool(new)


def settle(session: Session, study: StudyRow, goal: Goal) -> None:
    """Once all finals have ended: choose the best by them.

    Those that failed keep their first result and come behind those measured; of finalists that all fall out of the
    bounds the one nearest to them is taken, and the study's reason says so.
    """
    finals = _finals(session, study)
    if not finals:
        return
    measured = [final for final in finals if final.state == "done"]
    kept = [final for final in measured if final.feasible is not False]
    failed = {final.trial_number for final in finals if final.state == "failed"}
    if failed:
        add_reason(study, f"{len(failed)} of {len(finals)} finalists could not be measured on all images")
    if not kept and failed:
        kept = [trial for trial in feasible_trials(session, study) if trial.trial_number in failed]
    if kept:
        take_as_best(study, min(kept, key=lambda job: order_of(goal, job)))
        return
    nearest, words = nearest_of(goal, measured)
    take_as_best(study, nearest)
    add_reason(study, f"on all images none of the {len(measured)} finalists keeps the bounds; the nearest: {words}")


def best_trials(session: Session, study: StudyRow, goal: Goal, count: int) -> list[JobRow]:
    """So many of different ranks, the best first, at most: finalists as they were measured on all images come first.

    With several objectives: of the front, spread over it.
    """
    trials = feasible_trials(session, study)
    if len(goal.request.objectives) > 1:
        return _spread(_finalists(goal, trials), count)
    finals = {
        final.trial_number: final
        for final in _finals(session, study)
        if final.state == "done" and final.feasible is not False
    }
    ordered = sorted(trials, key=lambda trial: order_of(goal, trial))
    first = sorted(finals.values(), key=lambda final: order_of(goal, final))
    others = [trial for trial in ordered if trial.trial_number not in finals]
    different = {str(job.ranks): job for job in reversed([*first, *others])}
    kept = {job.id for job in different.values()}
    return [job for job in (*first, *others) if job.id in kept][:count]


def feasible_trials(session: Session, study: StudyRow) -> list[JobRow]:
    """The complete trials that keep the bounds, ascending in number."""
    kept = (JobRow.state == "done", JobRow.feasible.is_not(False))
    trials = select(JobRow).where(JobRow.study_id == study.id, JobRow.kind == "trial", *kept)
    return list(session.scalars(trials.order_by(JobRow.trial_number)))


def order_of(goal: Goal, job: JobRow) -> tuple[float, ...]:
    """See :meth:`Goal.order`."""
    return goal.order(result_of(job), job.trial_number or 0)


def nearest_of(goal: Goal, jobs: Sequence[JobRow]) -> tuple[JobRow, str]:
    """The one that exceeds the bounds least, and in words by how much."""
    nearest = min(jobs, key=lambda job: (goal.distance(result_of(job)), order_of(goal, job)))
    missed = [str(bound) for bound in goal.bounds(result_of(nearest)) if not bound.kept]
    return nearest, f"trial {nearest.trial_number}, {', '.join(missed)}"


def take_as_best(study: StudyRow, job: JobRow) -> None:
    """Make it the study's best."""
    study.best_job, study.best_trial, study.best_value = job.id, job.trial_number, job.value


def _finals(session: Session, study: StudyRow) -> list[JobRow]:
    finals = select(JobRow).where(JobRow.study_id == study.id, JobRow.kind == "final")
    return list(session.scalars(finals.order_by(JobRow.trial_number)))


def _finalists(goal: Goal, trials: Sequence[JobRow]) -> list[JobRow]:
    """The best of different ranks; with several objectives the front."""
    first = {str(trial.positions): trial for trial in reversed(trials)}  # the earliest of those with equal ranks
    candidates = sorted(first.values(), key=lambda trial: order_of(goal, trial))
    if len(goal.request.objectives) == 1:
        return _with_a_start(candidates, goal.request.finalists)
    members = front([goal.losses(result_of(trial)) for trial in candidates])
    return _spread([candidates[member] for member in members], _LARGEST_FRONT)


def _with_a_start(candidates: Sequence[JobRow], count: int) -> list[JobRow]:
    """So many of the best, the best warm start among them.

    It was found without looking at the trials' images, and on all images it is often better than trials that were
    chosen for being the best of many on few.
    """
    first, others = list(candidates[:count]), candidates[count:]
    if count > 1 and all(trial.origin == "sampler" for trial in first):
        start = next((trial for trial in others if trial.origin != "sampler"), None)
        if start is not None:
            first[-1] = start
    return first


def _spread(jobs: Sequence[JobRow], count: int) -> list[JobRow]:
    """So many of them at most, evenly from the first to the last."""
    if len(jobs) <= count:
        return list(jobs)
    return [jobs[step * (len(jobs) - 1) // max(1, count - 1)] for step in range(count)]


def has_unseen_images(request: StudyRequest) -> bool:
    """Whether the search leaves some of the images to the finals."""
    seen = request.search_images
    return _exceeds(request.calibration, seen.calibration) or _exceeds(request.validation, seen.validation)


def _exceeds(images: DataSlice, seen: int | None) -> bool:
    return seen is not None and (images.stop or 0) - images.start > seen


def _final(study: StudyRow, trial: JobRow) -> JobRow:
    costs = {"planned_macs": trial.planned_macs, "planned_params": trial.planned_params}
    return new_trial_job(study, trial, "final", origin=trial.origin, positions=trial.positions, **costs)
