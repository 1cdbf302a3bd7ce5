"""A study's trials one by one: of some state or origin, by what they are wanted to be sorted by, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, or_, select

from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import InputError, NotFoundError
from ranksearch.contracts.insights import TrialSort
from ranksearch.contracts.studies import Trial, TrialOrigin, TrialState
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend
from service.scheduling.trial_states import TRIAL_STATES
from service.scheduling.views import trial_views
from service.storage.paging import read_cursor, written_cursor
from service.storage.tables import JobRow

__all__ = ["Order", "TrialList", "trial", "trials"]

Order = Literal["asc", "desc"]

_KEYS: dict[TrialSort, ColumnElement[Any]] = {
    "value": JobRow.value.expression,
    "macs": JobRow.planned_macs.expression,
    "params": JobRow.planned_params.expression,
    "seconds": JobRow.finished_at - JobRow.started_at,
}
"""By number where there is none. Not all are indexed: a study has 100,000 trials at most, and a page is asked for now
and then."""


@dataclass(frozen=True)
class TrialList:
    """Which trials, and in which order.

    Args:
        state: only those in it.
        origin: only those whose ranks came from there.
        sort: by what; those of which it is not known come last, ties by number.
        order: the smallest or the largest first.
    """

    state: TrialState | None = None
    origin: TrialOrigin | None = None
    sort: TrialSort = "number"
    order: Order = "asc"

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Which rows they are."""
        found: list[ColumnElement[bool]] = []
        if self.state is not None:
            found.append(JobRow.state.in_([name for name, told in TRIAL_STATES.items() if told == self.state]))
        if self.origin is not None:
            found.append(JobRow.origin == self.origin)
        return found

    @property
    def key(self) -> ColumnElement[Any] | None:
        """What is sorted by before the number."""
        return _KEYS.get(self.sort)

    @property
    def ordering(self) -> list[ColumnElement[Any]]:
        """For ``order_by``."""
        if self.key is None:
            return [JobRow.trial_number.desc() if self.order == "desc" else JobRow.trial_number.asc()]
        key = self.key.desc() if self.order == "desc" else self.key.asc()
        return [key.nulls_last(), JobRow.trial_number.asc()]

    def after(self, cursor: str) -> ColumnElement[bool]:
        """The rows behind those of the page that the cursor ended.

        Raises:
            InputError: it is none, or of a list in another order.
        """
        sort, order, last, number = read_cursor(cursor, (str, str, _number, int))
        if (sort, order) != (self.sort, self.order):
            raise InputError(
                "invalid_request",
                "this cursor is of a list in another order",
                got=f"{sort} {order}",
                expected=f"{self.sort} {self.order}",
                mend="begin again without a cursor",
            )
        descending = self.order == "desc"
        later: ColumnElement[bool] = JobRow.trial_number > number
        if self.key is None:
            earlier: ColumnElement[bool] = JobRow.trial_number < number
            return earlier if descending else later
        if last is None:
            return and_(self.key.is_(None), later)
        beyond: ColumnElement[bool] = self.key < last if descending else self.key > last
        return or_(beyond, and_(self.key == last, later), self.key.is_(None))


def trial(backend: Backend, caller: Principal, study_id: str, number: int) -> Trial:
    """One planned trial.

    Raises:
        NotFoundError: no such study, or no such trial yet.
    """
    with backend.reading() as session:
        existing_study(session, caller, study_id)
        row = session.scalars(select(JobRow).where(*_planned(study_id), JobRow.trial_number == number)).first()
        if row is None:
            raise NotFoundError("trial_not_found", "there is no such trial, or not yet", got=number)
        (view,) = trial_views(session, [row])
        return view


def trials(
    backend: Backend, caller: Principal, study_id: str, cursor: str | None, limit: int, wanted: TrialList
) -> Page[Trial]:
    """Planned trials.

    Raises:
        NotFoundError: no such study.
        InputError: the cursor is none of this list's.
    """
    with backend.reading() as session:
        existing_study(session, caller, study_id)
        key: Any = JobRow.trial_number if wanted.key is None else wanted.key
        query = select(JobRow, key).where(*_planned(study_id), *wanted.conditions)
        if cursor is not None:
            query = query.where(wanted.after(cursor))
        rows = session.execute(query.order_by(*wanted.ordering).limit(limit + 1)).all()
        following = None
        if len(rows) > limit:
            last, value = rows[limit - 1]
            following = written_cursor(wanted.sort, wanted.order, value, last.trial_number)
        return Page(items=trial_views(session, [row for row, _ in rows[:limit]]), next=following)


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever a cursor may hold
    return None if value is None else float(value)


def _planned(study_id: str) -> tuple[ColumnElement[bool], ...]:
    return (JobRow.study_id == study_id, JobRow.kind == "trial", JobRow.trial_number.is_not(None))
