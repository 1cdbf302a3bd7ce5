"""A study's planned trials as columns: what charts are made of. Read once for every state that a study is in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from ranksearch.contracts.goals import CostWord
from ranksearch.contracts.insights import Importance
from ranksearch.contracts.studies import TrialState
from service.scheduling.remembered import Remembered
from service.scheduling.trial_states import TRIAL_STATES
from service.scheduling.verdicts import Goal
from service.storage.tables import JobRow, StudyRow

__all__ = ["Choices", "ShownTrials", "TrialColumns"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TrialColumns:
    """Of all planned trials, ascending in number, ``(m,)`` each. What is not known is NaN.

    Args:
        numbers: 0, 1, 2, …
        states: as the wire calls them.
        origins: where their ranks came from.
        values: the study's metric.
        guides: what the search follows.
        infeasible: outside the bounds that are measured.
        costs: by the profile; the latency as it was measured, where it is.
    """

    numbers: Integers
    states: Sequence[TrialState]
    origins: Sequence[str]
    values: Floats
    guides: Floats
    infeasible: NDArray[np.bool_]
    costs: dict[CostWord, Floats]
    complete: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        # frozen: this is how such a class sets what follows from its members
        object.__setattr__(self, "complete", np.array([state == "COMPLETE" for state in self.states], dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Complete, and within all bounds: what may be the best."""
        return self.complete & ~self.infeasible

    def losses(self, goal: Goal) -> Floats:
        """The metric, so that less is better."""
        return -self.values if goal.metric == "accuracy" else self.values


@dataclass(frozen=True)
class Choices:
    """What every planned trial chose, ascending in number.

    Args:
        numbers: of the trials ``(m,)``.
        positions: which option of each searched layer ``(m, n)``.
    """

    numbers: Integers
    positions: NDArray[np.int32]


class ShownTrials:
    """The trials of the studies that somebody looks at. May be used from several threads.

    Nothing happens to a planned trial without an event of its study, so by the number of the last one they are known.
    """

    def __init__(self) -> None:
        self._columns: Remembered[TrialColumns] = Remembered(8)
        self._choices: Remembered[Choices] = Remembered(4)
        self._importances: Remembered[Importance] = Remembered(64)
        self._locks = [threading.RLock() for _ in range(16)]

    def columns(self, session: Session, study: StudyRow, goal: Goal) -> TrialColumns:
        """What they gave, as the study is now."""
        with self._alone(study):
            return self._columns.of(_state_of(study), lambda: _read(session, study.id, goal))

    def choices(self, session: Session, study: StudyRow) -> Choices:
        """What they chose, as the study is now."""
        with self._alone(study):
            return self._choices.of(_state_of(study), lambda: _read_choices(session, study.id))

    def importance(self, study: StudyRow, compute: Callable[[], Importance]) -> Importance:
        """What follows from both, computed once for the study as it is now."""
        with self._alone(study):
            return self._importances.of(_state_of(study), compute)

    def _alone(self, study: StudyRow) -> threading.RLock:
        """All charts of a page are asked for at once; one of them reads, and the others have it then."""
        return self._locks[hash(study.id) % len(self._locks)]


def _state_of(study: StudyRow) -> str:
    return f"{study.id} {study.last_event}"


def _read(session: Session, study: str, goal: Goal) -> TrialColumns:
    latency = JobRow.result[("latency", "latency_ms")].as_float()
    wanted: list[Any] = [
        JobRow.trial_number,
        JobRow.state,
        JobRow.origin,
        JobRow.value,
        JobRow.guide,
        JobRow.feasible,
        JobRow.planned_macs,
        JobRow.planned_params,
        *([latency] if goal.request.measures_latency else []),
    ]
    rows = session.execute(select(*wanted).where(*_planned(study)).order_by(JobRow.trial_number)).all()
    numbers, states, origins, values, guides, feasible, macs, params, *latencies = (
        zip(*rows, strict=True) if rows else ([] for _ in wanted)
    )
    costs: dict[CostWord, Floats] = {"macs": _floats(macs), "params": _floats(params)}
    if latencies:
        costs["latency_ms"] = _floats(latencies[0])
    return TrialColumns(
        numbers=np.array(numbers, dtype=np.int64),
        states=[TRIAL_STATES[state] for state in states],
        origins=[origin or "sampler" for origin in origins],
        values=_floats(values),
        guides=_floats(guides),
        infeasible=np.array([one is False for one in feasible], dtype=np.bool_),
        costs=costs,
    )


def _read_choices(session: Session, study: str) -> Choices:
    written = cast(JobRow.positions, Text)  # millions of numbers: read at once, not row by row
    chosen = select(JobRow.trial_number, written).where(*_planned(study), JobRow.positions.is_not(None))
    rows = session.execute(chosen.order_by(JobRow.trial_number)).all()
    positions = np.array(json.loads(f"[{','.join(text for _, text in rows)}]"), dtype=np.int32)
    return Choices(
        numbers=np.array([number for number, _ in rows], dtype=np.int64),
        positions=positions.reshape(len(rows), -1) if rows else np.zeros((0, 0), dtype=np.int32),
    )


def _planned(study: str) -> tuple[Any, ...]:
    return (JobRow.study_id == study, JobRow.kind == "trial", JobRow.trial_number.is_not(None))


def _floats(column: Sequence[float | None]) -> Floats:
    return np.array([np.nan if one is None else one for one in column], dtype=np.float64)
