"""Chooses the next trial's ranks.

Strong allocations first: trial 0 has the same share of macs everywhere, trial 1 the same relative error. Searches
over the whole grid never beat such starts on real networks, so everything later stays near the better one of
the two, the *centre*: a few random perturbations, then Optuna's TPE over bounded offsets from the centre. Each
sample is projected onto the budget before it becomes a trial.

Nothing here remembers anything: the same seed, trial index and history give the same choice, in any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from ranksearch.contracts.studies import TrialOrigin
from service.search.allocations import equal_error, uniform
from service.search.projection import project
from service.search.space import Positions, SearchSpace

__all__ = ["REACH", "Choice", "Past", "SearchPlan", "choose"]

REACH = 4.0
"""How many options away from the centre TPE looks, in each site."""
_RETRIES = 24


@dataclass(frozen=True)
class Past:
    """An earlier trial. ``value`` is None while it runs; trials that failed are not among the past."""

    number: int
    origin: TrialOrigin
    positions: tuple[int, ...]
    value: float | None


@dataclass(frozen=True)
class SearchPlan:
    """What stays the same for all trials of a study."""

    limits: Mapping[str, int]
    direction: Literal["maximize", "minimize"]
    seed: int
    n_startup_trials: int


@dataclass(frozen=True)
class Choice:
    """The next trial."""

    positions: Positions
    origin: TrialOrigin


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
        sample = _perturbed(centre, space, rng, 1)
    else:
        sample = centre + _asked(plan, index, centre, past)
    positions = project(space, sample, plan.limits)
    for retry in range(_RETRIES):
        if tuple(positions.tolist()) not in tried:
            break
        positions = project(space, _perturbed(sample, space, rng, 1 + retry // 4), plan.limits)
    return Choice(positions, "sampler")


def _centre(space: SearchSpace, plan: SearchPlan, past: Sequence[Past]) -> Positions:
    """The better complete strong allocation; equal error while neither is complete, or on a tie."""
    sign = 1 if plan.direction == "maximize" else -1
    strong = [t for t in past if t.origin != "sampler" and t.value is not None]
    if not strong:
        return equal_error(space, plan.limits)
    best = max(strong, key=lambda t: (sign * (t.value or 0.0), t.origin == "equal_error"))
    return np.array(best.positions, dtype=np.int64)


def _perturbed(
    around: NDArray[np.float64] | Positions, space: SearchSpace, rng: np.random.Generator, widen: int
) -> NDArray[np.float64]:
    """``around`` with a few sites moved a few options, and now and then all of them tilted along the depth."""
    sites = len(space)
    sample = np.asarray(around, dtype=np.float64).copy()
    moved = rng.choice(sites, size=int(rng.integers(1, max(1, sites // 3) + 1)), replace=False)
    steps = rng.integers(1, 3 + widen, size=moved.size) * rng.choice([-1, 1], size=moved.size)
    sample[moved] += steps
    if sites > 2 and rng.random() < 0.3:  # noqa: PLR2004 - two sites have no depth; a tilt now and then
        sample += np.linspace(-1, 1, sites) * rng.uniform(-1.5, 1.5)
    return sample


def _asked(plan: SearchPlan, index: int, centre: Positions, past: Sequence[Past]) -> NDArray[np.float64]:
    """What TPE answers when it is shown the past as offsets from the centre, ``(n,)``."""
    space = {f"{site:04d}": FloatDistribution(-REACH, REACH) for site in range(centre.size)}
    storage = optuna.storages.InMemoryStorage()
    direction = optuna.study.StudyDirection[plan.direction.upper()]
    study_id = storage.create_new_study([direction], "asked")
    for trial in past:
        offsets = np.clip(np.array(trial.positions) - centre, -REACH, REACH)
        params = dict(zip(space, offsets.tolist(), strict=True))
        storage.create_new_trial(study_id, template_trial=_Shown(trial, params, space))
    seed = int(np.random.SeedSequence([plan.seed, index]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=0, multivariate=True, constant_liar=True, seed=seed)
    study = optuna.load_study(study_name="asked", storage=storage, sampler=sampler)
    asked = study.ask()
    relative = sampler.sample_relative(study, storage.get_trial(asked._trial_id), dict(space))  # noqa: SLF001 - its only name
    return np.array([float(relative[name]) for name in space])


class _Shown(FrozenTrial):
    """A past trial as TPE sees it. Nobody changes it, so the store may keep it instead of a deep copy."""

    def __init__(self, trial: Past, params: dict[str, float], space: dict[str, FloatDistribution]) -> None:
        super().__init__(
            number=trial.number,
            state=TrialState.RUNNING if trial.value is None else TrialState.COMPLETE,
            value=trial.value,
            datetime_start=None,
            datetime_complete=None,
            params=params,
            distributions=dict(space),
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )

    def __deepcopy__(self, _memo: object) -> FrozenTrial:
        return self
