"""Asks Optuna's TPE for the next sample.

It is shown, for every site, how many options a trial was away from the centre, and for sites with several methods
which one it took. Offsets on another method's chain count from where that chain costs what the centre costs. A site
that a trial left dense is shown with the centre's method: the dense layer is the top of every chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from service.search.aims import merit
from service.search.chains import Positions
from service.search.plan import Past, Sample, SearchPlan, sample_at
from service.search.space import SearchSpace

__all__ = ["REACH", "ask"]

REACH = 4.0
"""How many options away from the centre TPE looks, in each site."""


def ask(space: SearchSpace, plan: SearchPlan, index: int, centre: Positions, past: Sequence[Past]) -> Sample:
    """What TPE answers when it is shown the past.

    Args:
        space: the free sites.
        plan: the study's constants.
        index: of the trial; with ``plan.seed`` the only source of randomness.
        centre: the options that everything is seen from, ``(n,)``.
        past: complete and running trials.
    """
    middle = sample_at(space, centre)
    centred = _on_every_chain(space, middle)
    offsets = {f"{site:04d}": FloatDistribution(-REACH, REACH) for site in range(len(space))}
    several = np.flatnonzero(space.method_counts > 1)
    choices = {f"{site:04d}.method": _one_of(int(space.method_counts[site])) for site in several}
    shown: dict[str, BaseDistribution] = {**offsets, **choices}
    storage = optuna.storages.InMemoryStorage()
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "asked")
    positions = np.array([trial.positions for trial in past])
    selections = space.selection(positions, middle.selection)
    away = space.levels(positions, selections) - centred[space.rows, selections]
    seen = np.concatenate([np.clip(away, -REACH, REACH), selections[:, several]], axis=1)
    for trial, values in zip(past, seen, strict=True):
        storage.create_new_trial(study_id, template_trial=_Shown(trial.number, merit(plan, trial), values, shown))
    seed = int(np.random.SeedSequence([plan.seed, index]).generate_state(1)[0])
    sampler = _ArrayTPESampler(n_startup_trials=0, multivariate=True, constant_liar=True, seed=seed)
    study = optuna.load_study(study_name="asked", storage=storage, sampler=sampler)
    asked = study.ask()
    relative = sampler.sample_relative(study, storage.get_trial(asked._trial_id), dict(shown))  # noqa: SLF001 - its only name
    selection = space.preferred
    selection[several] = [int(relative[name]) for name in choices]
    levels = centred[space.rows, selection] + np.array([float(relative[name]) for name in offsets])
    return Sample(selection, levels)


def _on_every_chain(space: SearchSpace, sample: Sample) -> NDArray[np.float64]:
    """The levels of the sample's macs on the chains of all methods ``(n, methods)``."""
    columns = []
    for method in range(int(space.method_counts.max())):
        towards = np.where(space.method_counts > method, method, sample.selection)
        columns.append(space.carried(sample.levels, sample.selection, towards))
    return np.stack(columns, axis=1)


@lru_cache
def _one_of(count: int) -> CategoricalDistribution:
    return CategoricalDistribution(range(count))


class _Shown(FrozenTrial):
    """A past trial as TPE sees it. Nobody changes it, so the store may keep it instead of a deep copy."""

    def __init__(
        self, number: int, value: float | None, values: NDArray[np.float64], space: dict[str, BaseDistribution]
    ) -> None:
        self.values_shown = values
        super().__init__(
            number=number,
            state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
            value=value,
            datetime_start=None,
            datetime_complete=None,
            params=dict(zip(space, values.tolist(), strict=True)),
            distributions=space,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )

    def __deepcopy__(self, _memo: object) -> FrozenTrial:
        return self


class _ArrayTPESampler(TPESampler):
    """As its base, which turns every parameter of every trial into a number one by one: half of what an ask took.

    Here the numbers are at hand. Where Optuna asks for them in another way, it gets the same ones, more slowly.
    """

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, NDArray[Any]]:
        shown = [trial.values_shown for trial in trials if isinstance(trial, _Shown)]
        if not shown or len(shown) < len(trials):
            return super()._get_internal_repr(trials, search_space, study)
        return dict(zip(search_space, np.stack(shown, axis=1), strict=True))
