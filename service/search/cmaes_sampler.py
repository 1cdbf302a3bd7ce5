"""Asks CMA-ES (Hansen & Ostermeier 2001; the ``cmaes`` package, Optuna's own backend) for the next sample.

The search is over how many options each site is away from the centre, along the chain of the centre's method. Nothing
is kept between trials: the past is told again, a generation at a time, at the ranks that were really measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.search.aims import merit
from service.search.chains import Positions
from service.search.plan import Past, Sample, SearchPlan, sample_at
from service.search.space import SearchSpace

__all__ = ["ask"]

_SIGMA = 1.5
"""Options; about a tenth of a grid of 16."""
_REACH = 8.0


def ask(space: SearchSpace, plan: SearchPlan, index: int, centre: Positions, past: Sequence[Past]) -> Sample:
    """What CMA-ES draws after the past.

    Args:
        space: the free sites.
        plan: the study's constants.
        index: of the trial; with ``plan.seed`` the only source of randomness.
        centre: the options that the search starts from, ``(n,)``.
        past: complete and running trials.
    """
    from cmaes import CMA  # noqa: PLC0415 - with scipy.stats it takes 0.7 of the 2.3 s that a service imports

    middle = sample_at(space, centre)
    seed = int(np.random.SeedSequence([plan.seed, index]).generate_state(1)[0])
    bounds = np.tile([-_REACH, _REACH], (len(space), 1))
    search = CMA(mean=np.zeros(len(space)), sigma=_SIGMA, bounds=bounds, seed=seed)
    told = [(_away(space, middle, t), merit(plan, t) or 0.0) for t in past if merit(plan, t) is not None]
    size = search.population_size
    for start in range(0, len(told) - size + 1, size):
        search.tell(told[start : start + size])
    return Sample(middle.selection, middle.levels + search.ask())


def _away(space: SearchSpace, middle: Sample, trial: Past) -> NDArray[np.float64]:
    """The trial's options as offsets along the centre's chains; what lies on other chains by its macs."""
    own = sample_at(space, np.array(trial.positions))
    return np.clip(space.carried(own.levels, own.selection, middle.selection) - middle.levels, -_REACH, _REACH)
