"""The record of every study in Optuna's own SQL storage, for Optuna's own tools.

Our job rows are the truth; this is their mirror, a moment behind. Each call here is one transaction and is idempotent
by its arguments, so that whoever died between our transaction and this one can simply do it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution, distribution_to_json
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import TrialState

from ranksearch.contracts.profiles import Cost
from service.search.optuna_storage import BulkRDBStorage, WrittenTrial
from service.search.space import SearchSpace, Site
from service.storage.engine import Database, engine_options, prepare_engine

__all__ = ["Direction", "Ending", "OptunaRecords", "PlannedTrial"]

Direction: TypeAlias = Literal["maximize", "minimize"]
_OURS = "sty_"
"""How the names of our studies begin: they are ids of rows. Others in these tables are somebody else's."""
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Args:
        state: in Optuna's words.
        values: of a complete trial, one for each of the study's directions.
        constraints: bounds that were measured, by name; the trial keeps those that are 0 or less.
    """

    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of ours that has ranks.

    Args:
        number: 0, 1, 2, … in its study.
        job: id of its job.
        origin: where its ranks came from.
        positions: its options, one a site.
        ranks: by layer, as JSON.
        cost: by the profile.
        started_at: seconds since 1970.
        ended_at: the same, of a trial that has ended.
        ending: how it ended; None while it runs.
    """

    number: int
    job: str
    origin: str
    positions: Sequence[int]
    ranks: Mapping[str, Any]
    cost: Cost
    started_at: float | None = None
    ended_at: float | None = None
    ending: Ending | None = None


class OptunaRecords:
    """Optuna's storage in the service's database.

    Args:
        database: whose URL and whose queue of writers to share; Optuna's tables are made where they lack.
    """

    def __init__(self, database: Database) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._database = database
        with database.one_writer():
            self._storage = BulkRDBStorage(database.url, engine_kwargs=engine_options(database.url))
        prepare_engine(self._storage.engine, always_immediate=True)
        self._ids: dict[str, int] = {}

    def ensure_study(self, name: str, directions: Sequence[Direction]) -> None:
        """Make the study where it lacks; one direction for each of its objectives."""
        self._study_id(name, directions)

    def mirror(
        self, name: str, directions: Sequence[Direction], space: SearchSpace, trials: Sequence[PlannedTrial]
    ) -> None:
        """Have Optuna know these trials as they are now: those that it lacks are added, the others brought up to date.

        Args:
            name: of the study, which is made where it lacks.
            directions: one for each of its objectives.
            space: that its trials' positions are in.
            trials: ascending in number; none before them may be lacking.
        """
        distributions = _distributions(space)
        written = [_written(trial, space, distributions) for trial in trials]
        with self._database.one_writer():
            self._storage.write_trials(self._study_id(name, directions), written)

    def names(self) -> list[str]:
        """The studies that Optuna has of ours."""
        with self._database.one_writer():
            return self._storage.names(_OURS)

    def forget(self, name: str) -> None:
        """Delete a study with its trials; one that is not there is no error."""
        with self._database.one_writer():
            self._storage.delete_whole(name)
        self._ids.pop(name, None)

    def close(self) -> None:
        """Close its connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _study_id(self, name: str, directions: Sequence[Direction]) -> int:
        if name not in self._ids:
            with self._database.one_writer():
                try:
                    self._ids[name] = self._storage.get_study_id_from_name(name)
                except KeyError:
                    try:
                        wanted = [StudyDirection[direction.upper()] for direction in directions]
                        self._ids[name] = self._storage.create_new_study(wanted, name)
                    except DuplicatedStudyError:
                        self._ids[name] = self._storage.get_study_id_from_name(name)
        return self._ids[name]


def _written(trial: PlannedTrial, space: SearchSpace, distributions: Mapping[str, str]) -> WrittenTrial:
    ending = trial.ending
    return WrittenTrial(
        number=trial.number,
        state=TrialState.RUNNING if ending is None else _STATES[ending.state],
        params={
            name: (value, distributions[name])
            for site, position in zip(space.sites, trial.positions, strict=True)
            for name, value in _params(site, position)
        },
        user_attrs={"job": trial.job, "origin": trial.origin, "ranks": dict(trial.ranks), **_costs(trial.cost)},
        values=() if ending is None else ending.values,
        constraints={} if ending is None else ending.constraints,
        started=_utc(trial.started_at),
        ended=None if ending is None else _utc(trial.ended_at),
    )


def _params(site: Site, position: int) -> list[tuple[str, float]]:
    """The position, and where there are several methods the one that it means, for people and their plots.

    A category is stored as its index.
    """
    own = [(site.name, float(position))]
    if len(site.chains) == 1:
        return own
    return [(_method_of(site), float(_choices(site).index(site.options[position].method))), *own]


def _distributions(space: SearchSpace) -> dict[str, str]:
    several = [site for site in space.sites if len(site.chains) > 1]
    methods = {_method_of(site): distribution_to_json(CategoricalDistribution(_choices(site))) for site in several}
    positions = {site.name: distribution_to_json(IntDistribution(0, len(site.options) - 1)) for site in space.sites}
    return {**methods, **positions}


def _method_of(site: Site) -> str:
    return f"{site.name}.method"


def _choices(site: Site) -> tuple[str, ...]:
    return (*site.methods, "dense")


def _costs(cost: Cost) -> dict[str, int]:
    return {"macs": cost.macs, "params": cost.params}


def _utc(seconds: float | None) -> datetime | None:
    """As Optuna stores times: UTC, without a zone."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
