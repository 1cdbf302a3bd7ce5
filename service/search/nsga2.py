"""Asks Optuna's NSGA-II (Deb et al. 2002) for the next sample of a front.

It is shown, for every site, how far up its chain a trial was, and for sites with several methods which one it took;
to be minimised are the merit and the costs, by the profile, that are objectives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import TrialState, create_trial

from service.search.aims import merit
from service.search.plan import Past, Sample, SearchPlan, sample_at
from service.search.space import SearchSpace

__all__ = ["ask"]

_POPULATION = 20


def ask(space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past]) -> Sample:
    """What NSGA-II answers when it is shown the past.

    Args:
        space: the free sites.
        plan: the study's constants.
        index: of the trial; with ``plan.seed`` the only source of randomness.
        past: complete and running trials.
    """
    costs = [word for word in plan.objectives if word != "proxy"]
    seed = int(np.random.SeedSequence([plan.seed, index]).generate_state(1)[0])
    sampler = NSGAIISampler(population_size=_POPULATION, seed=seed)
    storage = optuna.storages.InMemoryStorage()
    storage.create_new_study([optuna.study.StudyDirection.MINIMIZE] * (1 + len(costs)), "asked")
    study = optuna.load_study(study_name="asked", storage=storage, sampler=sampler)
    shown = _distributions(space)
    ended = [trial for trial in past if merit(plan, trial) is not None]
    for order, trial in enumerate(ended):
        positions = np.array(trial.positions)
        values = [merit(plan, trial) or 0.0, *(space.total(word, positions) for word in costs)]
        generation = {NSGAIISampler._get_generation_key(): order // _POPULATION}  # noqa: SLF001 - else all are strangers to it
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                values=values,
                params=_params(space, trial),
                distributions=shown,
                system_attrs=generation,
            )
        )
    asked = study.ask(fixed_distributions=shown)
    selection = space.preferred
    for site in np.flatnonzero(space.method_counts > 1):
        selection[site] = int(asked.params[f"{site:04d}.method"])
    heights = np.array([float(asked.params[f"{site:04d}"]) for site in range(len(space))])
    return Sample(selection, heights * space.under(selection).top)


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    several = np.flatnonzero(space.method_counts > 1)
    methods = {f"{site:04d}.method": CategoricalDistribution(range(int(space.method_counts[site]))) for site in several}
    return {**{f"{site:04d}": FloatDistribution(0, 1) for site in range(len(space))}, **methods}


def _params(space: SearchSpace, trial: Past) -> dict[str, float | int]:
    sample = sample_at(space, np.array(trial.positions))
    heights = sample.levels / np.maximum(space.under(sample.selection).top, 1)
    several = np.flatnonzero(space.method_counts > 1)
    methods = {f"{site:04d}.method": int(sample.selection[site]) for site in several}
    return {**{f"{site:04d}": float(height) for site, height in enumerate(heights)}, **methods}
