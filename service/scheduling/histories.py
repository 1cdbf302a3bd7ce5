"""What the search is told of a study's earlier trials; what has ended is read once.

A trial that has ended does not change, so only later ones are asked for: those numbered from the first that had not
ended, and those that ended since. Completions of one study come one after another, under its lock, and their times
ascend; a failed trial that is tried again ends anew, and so is not missed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, get_args

from sqlalchemy import Row, bindparam, or_, select
from sqlalchemy.orm import Session

from ranksearch.contracts.studies import TrialOrigin
from service.scheduling.verdicts import Goal
from service.search.plan import Past
from service.storage.tables import JobRow

__all__ = ["Histories"]

_KEPT = 64
"""Studies; a trial of 20 layers takes under a kilobyte."""
_ORIGINS: dict[str, TrialOrigin] = {origin: origin for origin in get_args(TrialOrigin)}
_COUNTS = frozenset({"done", "pruned"})
_RUNS = frozenset({"waiting", "leased"})


@dataclass
class _History:
    """Of one study.

    Args:
        dense_value: by which its drops were computed.
        ended: number → what counts of it; None for one that failed.
        until: the latest end seen, seconds since 1970.
        first_open: the first number that has not ended.
    """

    dense_value: float | None
    ended: dict[int, Past | None] = field(default_factory=dict)
    until: float = float("-inf")
    first_open: int = 0


class Histories:
    """The histories of the studies that are searched at present. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _History] = OrderedDict()

    def past(self, session: Session, study: str, goal: Goal) -> list[Past]:
        """Trials that were planned and did not fail, ascending in number.

        Args:
            session: to read what is new.
            study: id.
            goal: of the study, as it is now.
        """
        with self._lock:
            history = self._known.get(study)
            if history is None or history.dense_value != goal.dense_value:
                history = self._known[study] = _History(goal.dense_value)
            self._known.move_to_end(study)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            running = _read(session, study, goal, history)
            past = [one for one in history.ended.values() if one is not None] + running
        return sorted(past, key=lambda trial: trial.number)


def _read(session: Session, study: str, goal: Goal, history: _History) -> list[Past]:
    """Take in what has ended since; what runs is answered."""
    running = []
    after = {"study": study, "first_open": history.first_open, "until": history.until}
    for row in session.connection().execute(_LATER, after):
        if row.state in _RUNS:
            running.append(_past(row, goal))
            history.ended.pop(row.trial_number, None)
        else:
            history.ended[row.trial_number] = _past(row, goal) if row.state in _COUNTS else None
            history.until = max(history.until, row.finished_at or history.until)
    while history.first_open in history.ended:
        history.first_open += 1
    return running


def _made_later() -> Any:  # noqa: ANN401 - a query; its type spells out ten columns
    """Of their results only what is needed is read."""
    latency, dense = JobRow.result[("latency", "latency_ms")].as_float(), JobRow.result["dense_value"].as_float()
    return select(
        JobRow.trial_number,
        JobRow.origin,
        JobRow.positions,
        JobRow.state,
        JobRow.value,
        JobRow.guide,
        JobRow.feasible,
        JobRow.finished_at,
        latency.label("latency_ms"),
        dense.label("dense_value"),
    ).where(
        JobRow.study_id == bindparam("study"),
        JobRow.kind == "trial",
        JobRow.trial_number.is_not(None),
        or_(JobRow.trial_number >= bindparam("first_open"), JobRow.finished_at >= bindparam("until")),
    )


_LATER = _made_later()


def _past(row: Row[Any], goal: Goal) -> Past:
    pruned = row.state == "pruned"
    drop = None if row.value is None or pruned else goal.drop_of(row.value, row.dense_value)
    guide = row.guide
    if guide is None and row.value is not None:  # of a study made before guides were kept
        guide = goal.loss(row.value) if drop is None else drop
    return Past(
        number=row.trial_number or 0,
        origin="sampler" if row.origin is None else _ORIGINS[row.origin],
        positions=tuple(row.positions or ()),
        value=row.value,
        guide=guide,
        drop=drop,
        feasible=None if row.value is None else row.feasible is not False,
        latency_ms=row.latency_ms,
        pruned=pruned,
    )
