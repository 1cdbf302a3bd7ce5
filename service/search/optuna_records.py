"""The record of every study in Optuna's own SQL storage, for Optuna's own tools.

Our job rows are the truth; this is their mirror. Each call here is one of Optuna's transactions and is idempotent
by its arguments, so that whoever died between our transaction and this one can simply do it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from ranksearch.contracts.profiles import Cost
from ranksearch.contracts.ranks import RankVector
from service.search.optuna_storage import BulkRDBStorage
from service.search.plan import Choice
from service.search.space import SearchSpace, Site
from service.storage.engine import BUSY_SECONDS, Database, prepare_engine

__all__ = ["Direction", "Ending", "OptunaRecords"]

Direction: TypeAlias = Literal["maximize", "minimize"]
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


class OptunaRecords:
    """Optuna's storage in the service's database.

    Args:
        database: whose URL and whose queue of writers to share; Optuna's tables are made where they lack.
    """

    def __init__(self, database: Database) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sqlite = database.engine.dialect.name == "sqlite"
        kwargs: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
        self._database = database
        with database.one_writer():
            self._storage = BulkRDBStorage(database.url, engine_kwargs=kwargs)
        prepare_engine(self._storage.engine, always_immediate=True)
        self._ids: dict[str, int] = {}

    def ensure_study(self, name: str, directions: Sequence[Direction]) -> None:
        """Make the study where it lacks; one direction for each of its objectives."""
        self._study_id(name, directions)

    def record(
        self,
        name: str,
        directions: Sequence[Direction],
        job: str,
        choice: Choice,
        space: SearchSpace,
    ) -> int:
        """Record a trial that is about to run, in one transaction.

        Returns:
            Its number.
        """
        cost = space.cost(choice.positions)
        template = create_trial(
            state=TrialState.RUNNING,
            params=_params(space, choice),
            distributions=_distributions(space),
            user_attrs={
                "job": job,
                "origin": choice.origin,
                "ranks": _plain(space.ranks(choice.positions)),
                **_costs(cost),
            },
        )
        with self._database.one_writer():
            study_id = self._study_id(name, directions)
            trial_id = self._storage.create_new_trial(study_id, template_trial=template)
            return self._storage.get_trial_number_from_id(trial_id)

    def find(self, name: str, job: str) -> tuple[int, Mapping[str, Any]] | None:
        """The number and user attributes of the trial recorded for ``job``, with its ``positions`` among them.

        These are by site; entries of other names, the methods, only repeat what they say.
        """
        with self._database.one_writer():
            try:
                study_id = self._storage.get_study_id_from_name(name)
            except KeyError:
                return None
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
        found = next((trial for trial in trials if trial.user_attrs.get("job") == job), None)
        return None if found is None else (found.number, {**found.user_attrs, "positions": dict(found.params)})

    def tell(self, name: str, number: int, ending: Ending) -> None:
        """Say how a trial ended. What was said before stands."""
        with self._database.one_writer():
            study_id = self._storage.get_study_id_from_name(name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            try:
                for word, excess in ending.constraints.items():
                    self._storage.set_trial_system_attr(trial_id, f"constraints:{word}", excess)
                self._storage.set_trial_state_values(trial_id, _STATES[ending.state], ending.values or None)
            except UpdateFinishedTrialError:
                return

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


def _params(space: SearchSpace, choice: Choice) -> dict[str, Any]:
    """Positions by site, and for those with several methods the one that it means, for people and their plots."""
    positions = {site.name: int(at) for site, at in zip(space.sites, choice.positions, strict=True)}
    methods = {
        _method_of(site): site.options[positions[site.name]].method for site in space.sites if len(site.chains) > 1
    }
    return {**methods, **positions}


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    several = [site for site in space.sites if len(site.chains) > 1]
    methods = {_method_of(site): CategoricalDistribution((*site.methods, "dense")) for site in several}
    return {**methods, **{site.name: IntDistribution(0, len(site.options) - 1) for site in space.sites}}


def _method_of(site: Site) -> str:
    return f"{site.name}.method"


def _plain(ranks: RankVector) -> dict[str, Any]:
    return {name: choice.model_dump(mode="json", by_alias=True, exclude_none=True) for name, choice in ranks.items()}


def _costs(cost: Cost) -> dict[str, int]:
    return {"macs": cost.macs, "params": cost.params}
