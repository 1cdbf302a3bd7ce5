"""Chooses the ranks of a study's next trial, before a worker is given it.

The choice is made without a lock on the database, from what was last committed of the study; number and ranks are then
stored in the transaction that makes the lease. Optuna learns of it afterwards, see :mod:`.mirroring`.

Within a process one study's trials are chosen one after another, so that each knows of those that run. Another
service that chooses at the same moment chooses for the same job: only one of them gets it, and the other one chooses
anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, load_only

from ranksearch.contracts.ranks import RankVector
from service.scheduling.backend import Backend
from service.scheduling.choosing import IN_LINE, ripe
from service.scheduling.sensitivity import judged_space
from service.scheduling.transfer import transferred
from service.scheduling.verdicts import Goal, direction_of, goal_of
from service.search.plan import Choice, Past, SearchPlan
from service.search.sampler import choose
from service.search.space import SearchSpace
from service.storage.clock import database_now
from service.storage.tables import JobRow, StudyRow

__all__ = ["Draft", "draft", "enter", "space_of_study"]

_RANKS = TypeAdapter(RankVector)


@dataclass(frozen=True)
class Draft:
    """What a trial is to be.

    Args:
        job: id of the trial's job, which has no number yet.
        planned: the job's new members.
        seconds: that the sampler took.
        problem: why there are no ranks; then ``planned`` is empty.
    """

    job: str
    planned: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    problem: Exception | None = None


@dataclass(frozen=True)
class _Unplanned:
    index: int
    space: SearchSpace
    plan: SearchPlan
    past: list[Past]


def draft(backend: Backend, study_id: str) -> Draft | None:
    """Ranks for the trial that is next; None where the study has something else to give out, or nothing.

    Whatever goes wrong is told in the draft: the trial must not block the queue for ever.

    Raises:
        SQLAlchemyError: the database could not be read.
    """
    with backend.looking() as session:
        found = session.execute(_NEXT, {"study": study_id}).first()
        if found is None or found.kind != "trial" or found.trial_number is not None:
            return None
        study, job, ordinal = found[:3]
        try:
            wanted = _read(session, backend, study, ordinal)
        except SQLAlchemyError:
            raise
        except Exception as problem:  # noqa: BLE001 - told in the draft
            return Draft(job, problem=problem)
    start = time.perf_counter()
    try:
        choice = choose(wanted.space, wanted.plan, wanted.index, wanted.past)
    except Exception as problem:  # noqa: BLE001 - told in the draft
        return Draft(job, problem=problem)
    return Draft(job, _planned(wanted.space, choice), time.perf_counter() - start)


def enter(job: JobRow, draft: Draft, number: int) -> None:
    """Give the job, whose study is locked, its ranks and its number."""
    job.trial_number = number
    for name, value in draft.planned.items():
        setattr(job, name, value)


def space_of_study(session: Session, backend: Backend, study: StudyRow) -> SearchSpace:
    """The space that a study searches."""
    request = goal_of(study).request
    latency = request.measures_latency
    return backend.space(session, study.model_id, request.methods, request.keep_dense, latency=latency)


def _read(session: Session, backend: Backend, study: StudyRow, index: int) -> _Unplanned:
    goal, space = goal_of(study), space_of_study(session, backend, study)
    transfer = backend.transfers.of(study.id, lambda: transferred(session, goal, space))
    return _Unplanned(
        index=index,
        space=space,
        plan=_search_plan(
            goal, study, transfer, judged_space(backend, study, space) if goal.request.needs_sensitivity else None
        ),
        past=backend.histories.past(session, study.id, goal),
    )


def _search_plan(goal: Goal, study: StudyRow, transfer: tuple[Past, ...], judged: SearchSpace | None) -> SearchPlan:
    request = goal.request
    return SearchPlan(
        limits=study.limits,
        direction=direction_of(study.metric),
        seed=request.seed,
        n_startup_trials=request.n_startup_trials,
        objectives=tuple(request.objectives),
        max_drop=request.max_drop,
        sampler=request.sampler,
        warm_starts=tuple(request.warm_starts),
        judged=judged,
        transfer=transfer,
    )


def _planned(space: SearchSpace, choice: Choice) -> dict[str, Any]:
    cost = space.cost(choice.positions)
    return {
        "origin": choice.origin,
        "positions": choice.positions.tolist(),
        "ranks": _RANKS.dump_python(space.ranks(choice.positions), mode="json", by_alias=True, exclude_none=True),
        "planned_macs": cost.macs,
        "planned_params": cost.params,
    }


_NEXT = (
    select(StudyRow, JobRow.id, JobRow.ordinal, JobRow.kind, JobRow.trial_number)
    .join(JobRow, JobRow.study_id == StudyRow.id)
    .where(StudyRow.id == bindparam("study"), *ripe(database_now()))
    .order_by(*IN_LINE)
    .limit(1)
    .options(load_only(StudyRow.model_id, StudyRow.request, StudyRow.metric, StudyRow.limits, StudyRow.dense_result))
)
"""What a study gives out next, with what is to be known of the study to choose its ranks."""
