"""What a trial aims at: the bounds that it is to keep, and the trial that it starts from.

The best proxy within constraints: the constraints. The least cost within a drop, and a front: the constraints and a
budget of the trial's own for the cost that is an objective, chosen here; so that all kinds of study are searched by
the same samplers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ranksearch.contracts.goals import CostWord
from service.search.feasibility import least_cost
from service.search.plan import Past, SearchPlan
from service.search.space import SearchSpace

__all__ = ["LADDER", "Aim", "aim", "best_within", "merit"]

LADDER = 6
"""Trials of equal error at different budgets that a front begins with."""
_CLOSE = 1.06
"""The bracket around the least cost is narrow enough when its ends differ by this factor."""
_BRACKETS = 12
"""Trials after which the bracket is narrow enough, however wide it is."""
_STEPS = (0.99, 0.97, 0.94)
"""Shares of the least cost so far that later trials try."""
_LOWEST_SHARE = 0.05
"""Of the dense cost, where a front ends, if it can go so low."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Aim:
    """What one trial aims at.

    Args:
        limits: absolute bounds, at least one.
        incumbent: the trial to start from; None while there is none.
        allocation: the trial is to be an allocation of equal error within the limits, and nothing else.
    """

    limits: Mapping[str, float]
    incumbent: Past | None
    allocation: bool = False


def merit(plan: SearchPlan, trial: Past) -> float | None:
    """What samplers minimise: the guide, or the metric turned that way; None while the trial runs."""
    if trial.guide is not None or trial.value is None:
        return trial.guide
    return trial.value if plan.direction == "minimize" else 1 - trial.value


def aim(space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past]) -> Aim:
    """What the trial with this index aims at, after ``past``."""
    limits = _corrected(space, plan, past)
    costs: list[CostWord] = [word for word in plan.objectives if word != "proxy"]
    if not costs:
        return Aim(limits, best_within(space, plan, past, limits))
    if "proxy" not in plan.objectives:
        return _smaller(space, plan, index, past, limits, costs[0])
    return _front(space, plan, index, past, limits, costs[index % len(costs)])


def best_within(space: SearchSpace, plan: SearchPlan, past: Sequence[Past], limits: Mapping[str, float]) -> Past | None:
    """The complete trial of the best merit that costs at most ``limits`` by the profile."""
    complete = [t for t in past if t.complete]
    while complete:  # mostly the first fits
        best = min(complete, key=lambda t: (merit(plan, t), t.number))
        if space.fits(np.array(best.positions), limits):
            return best
        complete = [t for t in complete if space.fits(np.array(t.positions), limits)]
    return None


def _corrected(space: SearchSpace, plan: SearchPlan, past: Sequence[Past]) -> dict[str, float]:
    """The constraints; that on the latency by how much the measured ones differ from the sum over the layers."""
    limits = dict(plan.limits)
    measured = [t for t in past if t.latency_ms is not None]
    if "latency_ms" in limits and "latency_ms" in space.costs and measured:
        ratios = [(t.latency_ms or 0) / space.total("latency_ms", np.array(t.positions)) for t in measured]
        limits["latency_ms"] /= float(np.clip(np.median(ratios), 0.25, 4))
        limits["latency_ms"] = max(limits["latency_ms"], least_cost(space, "latency_ms"))
    return limits


def _smaller(
    space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past], limits: dict[str, float], word: CostWord
) -> Aim:
    """First equal error at budgets that halve a bracket, in logarithms; then less and less than the least so far.

    The bracket's lower end loses too much, its upper end does not. Budgets of trials that still run cut it, too, so
    that parallel workers try different ones.
    """
    cost = {trial.number: space.total(word, np.array(trial.positions)) for trial in past}
    ended = [t for t in past if t.complete]
    kept = [t for t in ended if t.feasible]
    top = min(limits.get(word, space.whole[word]), space.whole[word])
    high = min((cost[t.number] for t in kept), default=top)
    low = max(
        (cost[t.number] for t in ended if not t.feasible and cost[t.number] < high), default=least_cost(space, word)
    )
    if high / max(low, 1e-9) > _CLOSE and len(past) < _BRACKETS:
        running = sorted(cost[t.number] for t in past if not t.complete and low < cost[t.number] < high)
        ends = [low, *running, high]
        low, high = max(pairwise(ends), key=lambda pair: pair[1] / max(pair[0], 1e-9))
        return Aim(limits | {word: math.sqrt(max(low, 1e-9) * high)}, None, allocation=True)
    smallest = min(kept, key=lambda t: (cost[t.number], t.number), default=None)
    share = 1.0 if smallest is None else _STEPS[index % len(_STEPS)]
    budget = max(share * high, least_cost(space, word))
    near = limits | {word: high * 1.001}
    return Aim(limits | {word: budget}, smallest or best_within(space, plan, past, near))


def _front(
    space: SearchSpace, plan: SearchPlan, index: int, past: Sequence[Past], limits: dict[str, float], word: CostWord
) -> Aim:
    """First a ladder of equal error from the upper end down; then budgets spread by the golden ratio, in logarithms."""
    high = min(limits.get(word, space.whole[word]), space.whole[word])
    low = min(max(1.02 * least_cost(space, word), _LOWEST_SHARE * space.whole[word]), high)
    if index < LADDER:
        return Aim(limits | {word: high * (low / high) ** (index / (LADDER - 1))}, None, allocation=True)
    budget = high * (low / high) ** ((index * _GOLDEN) % 1.0)
    within = limits | {word: budget}
    return Aim(within, best_within(space, plan, past, within))
