"""Optuna's SQL storage, with whole trials written many at a time.

Optuna's own way is a transaction for every value and three statements for every parameter, which at 20 layers was
most of what the service did for a trial. The tables and what is in them are the same either way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState
from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

__all__ = ["BulkRDBStorage", "WrittenTrial"]

_CONSTRAINT = "constraints:"
_TRIALS = models.TrialModel.metadata.tables["trials"]
"""Its model names some columns otherwise, and converts what they hold."""
_PARAMS, _VALUES, _USER_ATTRIBUTES, _SYSTEM_ATTRIBUTES = (
    models.BaseModel.metadata.tables[name]
    for name in ("trial_params", "trial_values", "trial_user_attributes", "trial_system_attributes")
)
_STUDIES = models.BaseModel.metadata.tables["studies"]
_OF_A_TRIAL = [
    table for table in models.BaseModel.metadata.sorted_tables if "trial_id" in table.c and table is not _TRIALS
]
_OF_A_STUDY = [table for table in reversed(models.BaseModel.metadata.sorted_tables) if "study_id" in table.c]
"""What refers to others before what it refers to."""
_UPDATE = update(_TRIALS).where(_TRIALS.c.trial_id == bindparam("at"))
_UPDATE = _UPDATE.values(state=bindparam("state"), datetime_complete=bindparam("datetime_complete"))


@dataclass(frozen=True)
class WrittenTrial:
    """A trial as it is to stand in Optuna's tables.

    Args:
        number: in its study.
        state: of Optuna's.
        params: name → (value as it is stored, its distribution as JSON).
        user_attrs: for people and programs; plain JSON.
        values: of a complete trial, one for each of the study's directions.
        constraints: bounds that were measured, by name; the trial keeps those that are 0 or less.
        started: UTC without a zone, as it stands in the table.
        ended: the same, of a trial that has ended.
    """

    number: int
    state: TrialState
    params: Mapping[str, tuple[float, str]]
    user_attrs: Mapping[str, Any]
    values: Sequence[float] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None


class BulkRDBStorage(RDBStorage):
    """As its base, with :meth:`write_trials`."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(url, engine_kwargs=engine_kwargs)
        if self.engine.dialect.name == "postgresql":  # else a message each way for every row of an INSERT
            self.engine.dialect.use_insertmanyvalues_wo_returning = True

    def write_trials(self, study_id: int, trials: Sequence[WrittenTrial]) -> None:
        """Have these trials stand in the tables as they are told here, in one transaction.

        Those that are there already keep their parameters and attributes; their state, values and constraints become
        what is told. The caller answers for the numbers: 0, 1, 2, … without gaps. The study is locked meanwhile, so
        that two processes may write the same.

        Args:
            study_id: Optuna's.
            trials: ascending in number.
        """
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            known = _known(session, study_id, [trial.number for trial in trials])
            fresh = [trial for trial in trials if trial.number not in known]
            stale = [(known[trial.number], trial) for trial in trials if trial.number in known]
            if stale:
                _update(session, stale)
            if fresh:
                _insert(session, study_id, fresh)

    def names(self, prefix: str) -> list[str]:
        """The names of the studies that begin with ``prefix``."""
        names = select(_STUDIES.c.study_name).where(_STUDIES.c.study_name.startswith(prefix, autoescape=True))
        with _create_scoped_session(self.scoped_session) as session:
            return list(session.scalars(names))

    def delete_whole(self, name: str) -> None:
        """Delete a study and all its trials, in one transaction; one that is not there is no error.

        The base has them loaded and deleted one by one.
        """
        with _create_scoped_session(self.scoped_session) as session:
            locked = select(_STUDIES.c.study_id).where(_STUDIES.c.study_name == name).with_for_update()
            study_id = session.scalar(locked)
            if study_id is None:
                return
            trials = select(_TRIALS.c.trial_id).where(_TRIALS.c.study_id == study_id)
            for table in _OF_A_TRIAL:
                session.execute(delete(table).where(table.c.trial_id.in_(trials)))
            for table in _OF_A_STUDY:
                session.execute(delete(table).where(table.c.study_id == study_id))


def _known(session: Session, study_id: int, numbers: Sequence[int]) -> dict[int, int]:
    """Number → Optuna's id, of those that are there."""
    found = session.execute(
        select(models.TrialModel.number, models.TrialModel.trial_id).where(
            models.TrialModel.study_id == study_id, models.TrialModel.number.in_(numbers)
        )
    )
    return {number: trial_id for number, trial_id in found}  # noqa: C416 - mypy cannot see that rows are pairs


def _update(session: Session, pairs: Sequence[tuple[int, WrittenTrial]]) -> None:
    """State, values and constraints of trials that are there, by Optuna's id: a few statements, however many."""
    ids = [at for at, _ in pairs]
    rows = [{"at": at, "state": trial.state, "datetime_complete": trial.ended} for at, trial in pairs]
    connection = session.connection()
    connection.execute(_UPDATE, rows)
    connection.execute(delete(_VALUES).where(_VALUES.c.trial_id.in_(ids)))
    measured = _SYSTEM_ATTRIBUTES.c.key.startswith(_CONSTRAINT, autoescape=True)
    connection.execute(delete(_SYSTEM_ATTRIBUTES).where(_SYSTEM_ATTRIBUTES.c.trial_id.in_(ids), measured))
    _insert_outcomes(session, pairs)


def _insert(session: Session, study_id: int, trials: Sequence[WrittenTrial]) -> None:
    rows = [
        {
            "study_id": study_id,
            "number": trial.number,
            "state": trial.state,
            "datetime_start": trial.started,
            "datetime_complete": trial.ended,
        }
        for trial in trials
    ]
    _insert_rows(session, _TRIALS, rows)
    ids = _known(session, study_id, [trial.number for trial in trials])
    pairs = [(ids[trial.number], trial) for trial in trials]
    params = [
        {"trial_id": at, "param_name": name, "param_value": value, "distribution_json": distribution}
        for at, trial in pairs
        for name, (value, distribution) in trial.params.items()
    ]
    attributes = [
        {"trial_id": at, "key": key, "value_json": json.dumps(value)}
        for at, trial in pairs
        for key, value in trial.user_attrs.items()
    ]
    _insert_rows(session, _PARAMS, params)
    _insert_rows(session, _USER_ATTRIBUTES, attributes)
    _insert_outcomes(session, pairs)


def _insert_outcomes(session: Session, pairs: Sequence[tuple[int, WrittenTrial]]) -> None:
    _insert_rows(session, _VALUES, [row for at, trial in pairs for row in _values(at, trial)])
    constraints = [row for at, trial in pairs for row in _constraints(at, trial)]
    _insert_rows(session, _SYSTEM_ATTRIBUTES, constraints)


def _values(trial_id: int, trial: WrittenTrial) -> list[dict[str, Any]]:
    kinds = models.TrialValueModel.value_to_stored_repr
    rows = []
    for objective, told in enumerate(trial.values):
        value, kind = kinds(told)
        rows.append({"trial_id": trial_id, "objective": objective, "value": value, "value_type": kind})
    return rows


def _constraints(trial_id: int, trial: WrittenTrial) -> list[dict[str, Any]]:
    told = trial.constraints.items()
    return [
        {"trial_id": trial_id, "key": f"{_CONSTRAINT}{word}", "value_json": json.dumps(excess)} for word, excess in told
    ]


def _insert_rows(session: Session, table: Table, rows: list[dict[str, Any]]) -> None:
    """Past the mapper, which would make an object's state of every row first."""
    if rows:
        session.connection().execute(insert(table), rows)
