"""Chooses the next trial's ranks.

Strong allocations first: trial 0 has the same share of macs everywhere, trial 1 the same relative error. Searches
over the whole grid never beat such starts on real networks, so everything later stays near the better one of
the two, the *centre*: a few random perturbations, then Optuna's TPE over bounded offsets from the centre, and over
the methods of the layers that have several. Each sample is projected onto the budget, along the chains of its
methods, before it becomes a trial.

Nothing here remembers anything: the same seed, trial index and history give the same choice, in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.search.allocations import equal_error, uniform
from service.search.chains import Positions
from service.search.feasibility import affordable
from service.search.plan import Choice, Past, Sample, SearchPlan, sample_at
from service.search.projection import project
from service.search.space import SearchSpace
from service.search.tpe import ask

__all__ = ["Choice", "Past", "SearchPlan", "choose"]

_RETRIES = 24


def choose(space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past]) -> Choice:
    """The trial with this index.

    Args:
        space: the free sites.
        plan: the study's constants; its limits must be feasible.
        index: 0, 1, 2, …; with ``plan.seed`` the only source of randomness.
        past: complete and running trials, ascending in number. Their ranks are avoided while there are others.
    """
    if index == 0:
        return Choice(uniform(space, plan.limits), "uniform")
    if index == 1:
        equal = equal_error(space, plan.limits)
        if not np.array_equal(equal, uniform(space, plan.limits)):  # the same ranks twice would tell nothing
            return Choice(equal, "equal_error")
    centre = _centre(space, plan, past)
    rng = np.random.default_rng([plan.seed, index])
    tried = {trial.positions for trial in past} | {tuple(centre.tolist())}
    if index - 2 < plan.n_startup_trials or all(trial.value is None for trial in past):
        sample = _perturbed(space, sample_at(space, centre), rng, 1)
    else:
        sample = ask(space, plan, index, centre, past)
    positions = _projected(space, sample, plan.limits)
    for retry in range(_RETRIES):
        if tuple(positions.tolist()) not in tried:
            break
        positions = _projected(space, _perturbed(space, sample, rng, 1 + retry // 4), plan.limits)
    return Choice(positions, "sampler")


def _projected(space: SearchSpace, sample: Sample, limits: Mapping[str, int]) -> Positions:
    """The choice on the budget that stands for ``sample``, by its methods as far as the budget has room for them."""
    selection = affordable(space, sample.selection, limits)
    chains = space.under(selection)
    return chains.positions(project(chains, space.carried(sample.levels, sample.selection, selection), limits))


def _centre(space: SearchSpace, plan: SearchPlan, past: Sequence[Past]) -> Positions:
    """The better complete strong allocation; equal error while neither is complete, or on a tie."""
    sign = 1 if plan.direction == "maximize" else -1
    strong = [t for t in past if t.origin != "sampler" and t.value is not None]
    if not strong:
        return equal_error(space, plan.limits)
    best = max(strong, key=lambda t: (sign * (t.value or 0.0), t.origin == "equal_error"))
    return np.array(best.positions, dtype=np.int64)


def _perturbed(space: SearchSpace, around: Sample, rng: np.random.Generator, widen: int) -> Sample:
    """``around`` with a few sites moved a few options, and now and then all of them tilted along the depth.

    Every second time a few of those that have several methods get another one, at the same macs.
    """
    sites = len(space)
    levels = around.levels.copy()
    moved = rng.choice(sites, size=int(rng.integers(1, max(1, sites // 3) + 1)), replace=False)
    steps = rng.integers(1, 3 + widen, size=moved.size) * rng.choice([-1, 1], size=moved.size)
    levels[moved] += steps
    if sites > 2 and rng.random() < 0.3:  # noqa: PLR2004 - two sites have no depth; a tilt now and then
        levels += np.linspace(-1, 1, sites) * rng.uniform(-1.5, 1.5)
    several = np.flatnonzero(space.method_counts > 1)
    if several.size == 0 or rng.random() < 0.5:  # noqa: PLR2004 - every second time
        return Sample(around.selection, levels)
    flipped = rng.choice(several, size=int(rng.integers(1, max(1, several.size // 4) + 1)), replace=False)
    selection = around.selection.copy()
    selection[flipped] += rng.integers(1, space.method_counts[flipped])
    selection %= space.method_counts
    return Sample(selection, space.carried(levels, around.selection, selection))
