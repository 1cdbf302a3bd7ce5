"""What would become of a submission: the very checks of it, and nothing is submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, get_args

import numpy as np

from ranksearch.contracts.errors import BudgetInfeasible, InputError
from ranksearch.contracts.feasibility import Allocation, Feasibility, LeastCost
from ranksearch.contracts.goals import CostWord
from ranksearch.contracts.resources import Problem
from ranksearch.contracts.studies import TrialOrigin
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import Principal
from service.scheduling.backend import Backend
from service.scheduling.request_checks import CheckedRequest, checked_request
from service.search.allocations import equal_error, uniform
from service.search.chains import Positions
from service.search.feasibility import check_feasible, least_cost, percent_for
from service.search.space import SearchSpace

__all__ = ["feasibility"]

_ALLOCATIONS: Final[Mapping[TrialOrigin, Callable[[SearchSpace, Mapping[str, float]], Positions]]] = {
    "uniform": uniform,
    "equal_error": equal_error,
}


def feasibility(backend: Backend, caller: Principal, request: StudyRequest, *, allocations: bool = True) -> Feasibility:
    """Whether a study could be submitted, the least that its methods allow, and what its bounds are good for.

    The latter takes a second for networks of hundreds of layers: ``allocations=False`` leaves it out.

    What is wrong with the request itself is told in the answer; that something it names is not there, or not inspected
    yet, is an error as at the submission.

    Raises:
        NotFoundError: the model, a data set or a study to learn from does not exist.
        ConflictError: the model is not inspected, or could not be.
    """
    with backend.reading() as session:
        try:
            checked = checked_request(session, backend, caller, request, hold=False)
        except InputError as refusal:
            return Feasibility(feasible=False, problem=Problem.model_validate(refusal.to_problem()))
    problem = _problem(checked)
    return Feasibility(
        feasible=problem is None,
        problem=problem,
        metric=checked.metric,
        limits=checked.limits,
        dense=checked.profile.dense,
        least={word: _least(checked.space, word) for word in get_args(CostWord) if word in checked.space.whole},
        allocations=_allocations(checked) if allocations and checked.limits and problem is None else [],
    )


def _problem(checked: CheckedRequest) -> Problem | None:
    try:
        if checked.limits:
            check_feasible(checked.space, checked.limits)
    except BudgetInfeasible as refusal:
        return Problem.model_validate(refusal.to_problem())
    return None


def _allocations(checked: CheckedRequest) -> list[Allocation]:
    return [_allocation(checked, origin) for origin in _ALLOCATIONS]


def _least(space: SearchSpace, word: CostWord) -> LeastCost:
    amount = least_cost(space, word)
    return LeastCost(amount=amount, percent=percent_for(amount, space.whole[word], whole=word != "latency_ms"))


def _allocation(checked: CheckedRequest, origin: TrialOrigin) -> Allocation:
    space, dense = checked.space, checked.profile.dense
    positions = _ALLOCATIONS[origin](space, checked.limits)
    cost = space.cost(positions)
    errors = space.errors[space.rows, positions]
    return Allocation(
        origin=origin,
        cost=cost,
        macs_fraction=cost.macs / max(1, dense.macs),
        params_fraction=cost.params / max(1, dense.params),
        latency_ms=space.total("latency_ms", positions) if "latency_ms" in space.costs else None,
        largest_error=float(np.max(errors, initial=0.0)),
        factorised=len(space.ranks(positions)),
    )
