"""What a study's trials gave, one after another: in columns, thinned to what a chart can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.goals import CostWord
from ranksearch.contracts.insights import FinalValue, History, StartValue
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend
from service.scheduling.trial_columns import TrialColumns
from service.scheduling.verdicts import Goal, goal_of
from service.storage.tables import JobRow, StudyRow

__all__ = ["cheapest_first", "history", "improvements", "thinned"]

_EXTREMES = 4
"""Trials that are kept of a stretch: the least and the greatest value, complete and pruned."""


def history(backend: Backend, caller: Principal, study_id: str, points: int) -> History:
    """What the trials gave, so far.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: of the study.
        points: about as many trials; those that are the best, a warm start, a final or on a front come on top.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        goal = goal_of(row)
        columns = backend.shown.columns(session, row, goal)
        finals = _finals(session, row)
    starts = [at for at, origin in enumerate(columns.origins) if origin != "sampler"]
    better = improvements(columns, goal)
    fronts = {word: cheapest_first(columns, goal, word) for word in columns.costs}
    named = {*starts, *better, *(final.trial for final in finals)}.union(*fronts.values())
    shown = thinned(columns, points, sorted(named))
    return History(
        study=row.id,
        metric=goal.metric,
        objectives=goal.request.objectives,
        last_event=row.last_event,
        trials=len(columns),
        numbers=shown.tolist(),
        states=[columns.states[at] for at in shown],
        values=_told(columns.values[shown]),
        macs=columns.costs["macs"][shown].astype(np.int64).tolist(),
        params=columns.costs["params"][shown].astype(np.int64).tolist(),
        latencies=_told(columns.costs["latency_ms"][shown]) if "latency_ms" in columns.costs else None,
        infeasible=shown[(columns.complete & columns.infeasible)[shown]].tolist(),
        improvements=better,
        fronts=fronts,
        starts=[_start(columns, at) for at in starts if columns.complete[at]],
        finals=finals,
        dense_value=goal.dense_value,
    )


def improvements(columns: TrialColumns, goal: Goal) -> list[int]:
    """Numbers of the trials that were better than all before them, in the order of their numbers."""
    losses = columns.losses(goal)
    words = goal.request.objectives
    sought = [losses] if "proxy" in words else []
    sought += [columns.costs[word] for word in words if word != "proxy"]
    ranked = np.column_stack([*sought, losses])
    best: list[float] | None = None
    found = []
    for at in np.flatnonzero(columns.kept):
        mine = ranked[at].tolist()
        if best is None or mine < best:
            best = mine
            found.append(int(columns.numbers[at]))
    return found


def cheapest_first(columns: TrialColumns, goal: Goal, word: CostWord) -> list[int]:
    """Numbers of the trials that no other beats in this cost and the metric; of equal ones the earliest."""
    costs, losses = columns.costs[word], columns.losses(goal)
    use = np.flatnonzero(columns.kept & np.isfinite(costs) & np.isfinite(losses))
    order = use[np.lexsort((columns.numbers[use], losses[use], costs[use]))]
    before = np.concatenate([[np.inf], np.minimum.accumulate(losses[order])])[:-1]
    members: list[int] = columns.numbers[order[losses[order] < before]].tolist()
    return members


def thinned(columns: TrialColumns, points: int, named: Sequence[int]) -> NDArray[np.int64]:
    """Which trials a chart of about ``points`` marks needs, ascending; all where there are no more than that.

    Of every stretch of trials the least and the greatest value stay, of those complete and of those stopped early, and
    so does one that failed; and all that are ``named``, and that have not ended.
    """
    if len(columns) <= points:
        return np.arange(len(columns))
    keep = np.zeros(len(columns), dtype=np.bool_)
    keep[list(named)] = True
    states = np.array(columns.states)
    keep |= (states == "RUNNING") | (states == "WAITING")
    stretches = max(1, points // _EXTREMES)
    for state in ("COMPLETE", "PRUNED"):
        members = np.flatnonzero((states == state) & np.isfinite(columns.values))
        for group in np.array_split(members, min(stretches, max(1, len(members)))):
            if group.size:
                values = columns.values[group]
                keep[group[np.argmin(values)]] = keep[group[np.argmax(values)]] = True
    failed = np.flatnonzero(states == "FAIL")
    keep[failed[:: max(1, len(failed) // stretches)]] = True
    return np.flatnonzero(keep)


def _start(columns: TrialColumns, at: int) -> StartValue:
    origin: Any = columns.origins[at]
    return StartValue(trial=int(columns.numbers[at]), origin=origin, value=float(columns.values[at]))


def _finals(session: Session, study: StudyRow) -> list[FinalValue]:
    done = (JobRow.study_id == study.id, JobRow.kind == "final", JobRow.state == "done")
    rows = session.execute(select(JobRow.trial_number, JobRow.value).where(*done).order_by(JobRow.trial_number))
    return [FinalValue(trial=number, value=value) for number, value in rows if value is not None]


def _told(column: NDArray[np.float64]) -> list[float | None]:
    return [None if one != one else one for one in column.tolist()]  # noqa: PLR0124 - NaN is not itself
