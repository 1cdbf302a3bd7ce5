"""Plans a trial when it is claimed: its number and its ranks, in one transaction.

Optuna learns of it afterwards, see :mod:`.mirroring`; a crash in between costs nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.scheduling.backend import OPTUNA, Backend, locked_study, planning_of
from service.scheduling.events import trial_event
from service.scheduling.leases import lease_lost
from service.scheduling.sensitivity import pairs_of
from service.scheduling.transfer import transferred
from service.scheduling.verdicts import Goal, direction_of, goal_of
from service.search.plan import Choice, Past, SearchPlan
from service.search.sampler import choose
from service.search.space import SearchSpace
from service.storage.tables import JobRow, StudyRow

__all__ = ["plan_trial", "space_of_study"]


@dataclass(frozen=True)
class _Unplanned:
    index: int
    space: SearchSpace
    plan: SearchPlan
    past: list[Past]


def plan_trial(backend: Backend, job_id: str, token: str) -> float:
    """Give a leased trial its ranks and number, unless it has them; other jobs need no plan.

    Returns:
        The seconds that the sampler took.

    Raises:
        ConflictError: ``lease_lost``, where the lease ended meanwhile.
    """
    with backend.reading() as session:
        job = session.get_one(JobRow, job_id)
        study_id = job.study_id
        if job.kind != "trial" or job.trial_number is not None or study_id is None:
            return 0.0
    with backend.alone(planning_of(study_id)):
        with backend.reading() as session:
            wanted = _read(session, backend, job_id)
        start = time.perf_counter()
        choice = choose(wanted.space, wanted.plan, wanted.index, wanted.past)
        seconds = time.perf_counter() - start
        _store(backend, job_id, token, _planned(wanted.space, choice))
    return seconds


def space_of_study(session: Session, backend: Backend, study: StudyRow) -> SearchSpace:
    """The space that a study searches."""
    request = goal_of(study).request
    latency = request.measures_latency
    return backend.space(session, study.model_id, request.methods, request.keep_dense, latency=latency)


def _read(session: Session, backend: Backend, job_id: str) -> _Unplanned:
    job = session.get_one(JobRow, job_id)
    study = session.get_one(StudyRow, job.study_id)
    goal, space = goal_of(study), space_of_study(session, backend, study)
    transfer = backend.transfer(study.id, lambda: transferred(session, goal, space))
    return _Unplanned(
        index=job.ordinal,
        space=space,
        plan=_search_plan(goal, study, space, transfer),
        past=backend.histories.past(session, study.id, goal),
    )


def _search_plan(goal: Goal, study: StudyRow, space: SearchSpace, transfer: tuple[Past, ...]) -> SearchPlan:
    request = goal.request
    greedy = "greedy" in request.warm_starts
    return SearchPlan(
        limits=study.limits,
        direction=direction_of(study.metric),
        seed=request.seed,
        n_startup_trials=request.n_startup_trials,
        objectives=tuple(request.objectives),
        max_drop=request.max_drop,
        sampler=request.sampler,
        warm_starts=tuple(request.warm_starts),
        sensitivity=pairs_of(space, study.sensitivity) if greedy else None,
        transfer=transfer,
    )


def _planned(space: SearchSpace, choice: Choice) -> dict[str, Any]:
    cost = space.cost(choice.positions)
    return {
        "origin": choice.origin,
        "positions": choice.positions.tolist(),
        "ranks": {
            name: chosen.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, chosen in space.ranks(choice.positions).items()
        },
        "planned_macs": cost.macs,
        "planned_params": cost.params,
    }


def _store(backend: Backend, job_id: str, token: str, planned: dict[str, Any]) -> None:
    """Give the job its ranks and the next number of its study, which is locked meanwhile."""
    with backend.writing() as session:
        study_id = session.scalar(select(JobRow.study_id).where(JobRow.id == job_id))
        study = locked_study(session, study_id or "")
        job = session.scalars(select(JobRow).where(JobRow.id == job_id).with_for_update()).one()
        if job.lease_token != token or job.state != "leased":
            raise lease_lost(job)
        if job.trial_number is None:
            trials = (JobRow.study_id == study.id, JobRow.kind == "trial")
            last = session.scalar(select(func.max(JobRow.trial_number)).where(*trials))
            job.trial_number = 0 if last is None else last + 1
            for name, value in planned.items():
                setattr(job, name, value)
            job.told = False
        trial_event(session, study, job)
        Backend.ring_after(session, OPTUNA)
