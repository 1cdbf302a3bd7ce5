"""Chooses the next trial's ranks.

Warm starts first: allocations computed beforehand, as trials like any other. Searches over the whole grid never beat
such starts on real networks, so everything later stays near the best choice so far, or near the better start. Each
sample is projected onto the bounds that the trial aims at before it becomes a trial.

The same seed, trial index and history give the same choice, in any process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.goals import Sampler, WarmStart
from service.search import cmaes_sampler, error_model, nsga2, tpe
from service.search.aims import Aim, aim, best_within, merit
from service.search.allocations import by_rule, equal_error, uniform
from service.search.chains import Positions
from service.search.perturbation import anywhere, perturbed, projected
from service.search.plan import Choice, Past, SearchPlan, sample_at
from service.search.space import SearchSpace

__all__ = ["Choice", "Past", "SearchPlan", "choose", "prior"]

_RETRIES = 24


def choose(space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past]) -> Choice:
    """The trial with this index.

    Args:
        space: the free sites.
        plan: the study's constants; its limits must be feasible.
        index: 0, 1, 2, …; with ``plan.seed`` the only source of randomness.
        past: complete, stopped and running trials, ascending in number. Their ranks are avoided while there are
            others.
    """
    aimed = aim(space, plan, index, past)
    tried = {trial.positions for trial in past}
    started = _warm_start(space, plan, index, past, aimed)
    if started is not None and tuple(started.positions.tolist()) not in tried:
        return started
    rng = np.random.default_rng([plan.seed, index])
    positions = _PROPOSALS[_resolved(plan.sampler)](space, plan, aimed, index, past, rng)
    for retry in range(_RETRIES):
        if tuple(positions.tolist()) not in tried:
            break
        around = perturbed(space, sample_at(space, positions), rng, 1 + retry // 4)
        positions = projected(space, around, aimed.limits)
    return Choice(positions, "sampler")


def _resolved(sampler: Sampler) -> Sampler:
    return "error_model" if sampler == "auto" else sampler


def _warm_start(space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past], aimed: Aim) -> Choice | None:
    """The allocation that this trial is, if it is one."""
    if aimed.allocation:
        origin: WarmStart = "equal_error" if plan.judged is None else "greedy"
        return Choice(equal_error(plan.judged or space, aimed.limits), origin)
    if plan.objectives != ("proxy",):
        return None
    starts = plan.warm_starts
    if index < len(starts):
        found = _allocation(space, plan, starts[index], aimed.limits)
        return None if found is None else Choice(found, starts[index])
    if index == len(starts) and plan.transfer:
        earlier = min(plan.transfer, key=lambda t: (merit(plan, t) or np.inf, t.number))
        sample = sample_at(space, np.array(earlier.positions))
        return Choice(projected(space, sample, aimed.limits), "transfer")
    if "greedy" in starts and plan.judged is not None and all(t.origin != "greedy" for t in past):
        late = index - starts.index("greedy")  # its table came after its turn
        if late < _RETRIES:
            return Choice(equal_error(plan.judged, aimed.limits), "greedy")
    return None


def _allocation(
    space: SearchSpace, plan: SearchPlan, start: WarmStart, limits: Mapping[str, float]
) -> Positions | None:
    """The allocation of this name; None where it needs what is not there (yet)."""
    if start == "uniform":
        return uniform(space, limits)
    if start == "equal_error":
        return equal_error(space, limits)
    if start == "greedy":
        return None if plan.judged is None else equal_error(plan.judged, limits)
    return by_rule(space, start, limits) if all(start in site.rules for site in space.sites) else None


def centre(space: SearchSpace, plan: SearchPlan, past: Sequence[Past], aimed: Aim) -> Positions:
    """The best complete warm start within the limits; equal error while there is none, or on a tie."""
    strong = [t for t in past if t.origin != "sampler"]
    best = best_within(space, plan, sorted(strong, key=lambda t: t.origin != "equal_error"), aimed.limits)
    if best is None:
        return equal_error(space, aimed.limits)
    tied = [t for t in strong if t.complete and merit(plan, t) == merit(plan, best) and t.origin == "equal_error"]
    return np.array((tied or [best])[0].positions, dtype=np.int64)


def _by_tpe(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    middle = centre(space, plan, past, aimed)
    if index - len(plan.warm_starts) < plan.n_startup_trials or all(merit(plan, t) is None for t in past):
        return projected(space, perturbed(space, sample_at(space, middle), rng, 1), aimed.limits)
    return projected(space, tpe.ask(space, plan, index, middle, past), aimed.limits)


def _by_cmaes(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    del rng
    return projected(space, cmaes_sampler.ask(space, plan, index, centre(space, plan, past, aimed), past), aimed.limits)


def _by_nsga2(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    del rng
    sample = nsga2.ask(space, plan, index, past)
    front = len(plan.objectives) > 1
    if front:  # what the sample costs is its own choice, as long as it is within the constraints
        chains = space.under(sample.selection)
        levels = np.clip(np.rint(sample.levels), 0, chains.top).astype(np.int64)
        if chains.fits(levels, plan.limits):
            return chains.positions(levels)
    return projected(space, sample, plan.limits if front else aimed.limits)


def _by_chance(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    del plan, index, past
    return projected(space, anywhere(space, rng), aimed.limits)


def _by_steps(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    del index
    start = centre(space, plan, past, aimed) if aimed.incumbent is None else np.array(aimed.incumbent.positions)
    return projected(space, perturbed(space, sample_at(space, start), rng, 0), aimed.limits)


def _by_error_model(
    space: SearchSpace, plan: SearchPlan, aimed: Aim, index: int, past: Sequence[Past], rng: np.random.Generator
) -> Positions:
    known = [_guided(plan, t) for t in past if merit(plan, t) is not None]
    older = [_guided(plan, t) for t in plan.transfer if merit(plan, t) is not None]
    space = space if plan.judged is None else plan.judged
    equal, weights = prior(space, frozenset(aimed.limits.items()))
    start = aimed.incumbent or min(known, key=lambda t: (t.guide, t.number), default=None)
    if start is None:
        model, at = error_model.uninformed(space, weights), equal
    else:
        model = error_model.posterior(space, weights, known, _guided(plan, start), older)
        at = np.array(start.positions)
    tried = {trial.positions for trial in past}
    found = error_model.propose(space, model, aimed.limits, at, tried, rng, index)
    return equal if found is None else found


@lru_cache(maxsize=64)
def prior(space: SearchSpace, limits: frozenset[tuple[str, float]]) -> tuple[Positions, NDArray[np.float64]]:
    """Equal error within these limits, and the weights that make it stationary: the same for all trials of a plan."""
    bounds = dict(limits)
    equal = equal_error(space, bounds)
    weights = error_model.prior_weights(space, equal, bounds)
    for shared in (equal, weights):
        shared.setflags(write=False)
    return equal, weights


def _guided(plan: SearchPlan, trial: Past) -> Past:
    """The trial with its merit for a guide."""
    if trial.guide is not None:
        return trial
    return dataclasses.replace(trial, guide=merit(plan, trial))


Proposal = Callable[
    [SearchSpace, SearchPlan, Aim, int, Sequence[Past], np.random.Generator],
    Positions,
]
_PROPOSALS: Mapping[Sampler, Proposal] = {
    "error_model": _by_error_model,
    "local": _by_steps,
    "tpe": _by_tpe,
    "cmaes": _by_cmaes,
    "nsga2": _by_nsga2,
    "random": _by_chance,
}
