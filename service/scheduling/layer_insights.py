"""What a study shows of its layers: where their ranks were, how much their errors matter, how sensitive each is."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from ranksearch.contracts.insights import (
    Importance,
    LayerImportance,
    LayerSensitivity,
    Period,
    RankMap,
    Sensitivity,
    SensitivityPoint,
    TrialShares,
)
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend
from service.scheduling.metric_choice import measure_of
from service.scheduling.planning import space_of_study
from service.scheduling.sensitivity import pairs_of
from service.scheduling.timelines import cheapest_first
from service.scheduling.trial_columns import Choices
from service.scheduling.verdicts import Goal, goal_of
from service.search.importance import Weighed, by_error_model, by_rank_correlation
from service.search.space import SearchSpace
from service.storage.tables import JobRow, StudyRow

__all__ = ["importance", "rank_map", "sensitivity"]

BINS: Final = 20
_FRONT: Final = 12
_BY_ERROR_MODEL: Final = frozenset({"auto", "error_model"})


def rank_map(backend: Backend, caller: Principal, study_id: str, periods: int) -> RankMap:
    """Where the ranks were that the search tried.

    Args:
        backend: the stores.
        caller: who asks.
        study_id: of the study.
        periods: into so many the trials are divided; fewer where there are fewer trials.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        goal, space = goal_of(row), space_of_study(session, backend, row)
        columns, choices = backend.shown.columns(session, row, goal), backend.shown.choices(session, row)
    shares = _shares(space, choices.positions)
    at = {int(number): place for place, number in enumerate(choices.numbers)}
    front = [number for number in cheapest_first(columns, goal, "macs") if number in at]
    if len(front) > _FRONT:
        front = [front[step * (len(front) - 1) // (_FRONT - 1)] for step in range(_FRONT)]
    dense = space.costs["macs"][:, -1]
    return RankMap(
        study=row.id,
        last_event=row.last_event,
        trials=len(choices.numbers),
        layers=[site.name for site in space.sites],
        dense_macs=dense.tolist(),
        other_macs=space.dense.macs - int(dense.sum()),
        bins=BINS,
        periods=_periods(choices, shares, periods),
        best=None if row.best_trial is None else _trial_shares(row.best_trial, shares[at[row.best_trial]]),
        front=[_trial_shares(number, shares[at[number]]) for number in front],
    )


def importance(backend: Backend, caller: Principal, study_id: str) -> Importance:
    """How much each layer's error matters, as far as the trials tell.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        return backend.shown.importance(row, lambda: _importance(session, backend, row))


def sensitivity(backend: Backend, caller: Principal, study_id: str) -> Sensitivity:
    """How far each layer alone moves the network, where that was measured.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        wanted = goal_of(row).request.needs_sensitivity
        table = session.scalars(
            select(StudyRow).where(StudyRow.id == row.id).options(undefer(StudyRow.sensitivity))
        ).one()
        if not wanted or table.sensitivity is None:
            state = _state_of_table(session, row) if wanted else "not_asked_for"
            return Sensitivity(study=row.id, state=state, measure=measure_of(row.metric), layers=[])
        space = space_of_study(session, backend, row)
        pairs = pairs_of(space, table.sensitivity) or {}
    layers = [_layer_sensitivity(space, at, pairs[site.name]) for at, site in enumerate(space.sites)]
    return Sensitivity(study=row.id, state="measured", measure=measure_of(row.metric), layers=layers)


def _importance(session: Session, backend: Backend, row: StudyRow) -> Importance:
    goal, space = goal_of(row), space_of_study(session, backend, row)
    columns, choices = backend.shown.columns(session, row, goal), backend.shown.choices(session, row)
    measured = np.array([state in {"COMPLETE", "PRUNED"} for state in columns.states], dtype=np.bool_)
    use = np.flatnonzero(measured & np.isfinite(columns.guides))
    use = use[np.isin(columns.numbers[use], choices.numbers)]
    modelled = goal.request.sampler in _BY_ERROR_MODEL
    measure: Literal["error_model", "rank_correlation"] = "error_model" if modelled else "rank_correlation"
    told: list[LayerImportance] = []
    if use.size:
        positions = choices.positions[np.searchsorted(choices.numbers, columns.numbers[use])].astype(np.int64)
        found = _weighed(space, row, goal, positions, columns.guides[use], columns.numbers[use])
        told = [_layer(site.name, found, at) for at, site in enumerate(space.sites)]
    return Importance(study=row.id, last_event=row.last_event, measure=measure, trials=int(use.size), layers=told)


def _weighed(
    space: SearchSpace,
    study: StudyRow,
    goal: Goal,
    positions: NDArray[np.int64],
    guides: NDArray[np.float64],
    numbers: NDArray[np.int64],
) -> Weighed:
    if goal.request.sampler not in _BY_ERROR_MODEL:
        return by_rank_correlation(space, positions, guides)
    best = np.flatnonzero(numbers == study.best_trial)
    incumbent = int(best[0]) if best.size else int(np.argmin(guides))
    return by_error_model(space, _limits(space, study, goal, positions[incumbent]), positions, guides, incumbent)


def _limits(space: SearchSpace, study: StudyRow, goal: Goal, best: NDArray[np.int64]) -> dict[str, float]:
    """The bounds near the best trial: where the cost is what is sought, its own."""
    limits = {word: float(limit) for word, limit in study.limits.items() if word in space.costs}
    sought = [word for word in goal.request.objectives if word in space.costs]
    for word in sought or ([] if limits else ["macs"]):
        limits[word] = space.total(word, best)
    return limits


def _layer(name: str, found: Weighed, at: int) -> LayerImportance:
    spread = float(found.spread[at])
    return LayerImportance(
        name=name,
        importance=float(found.importance[at]),
        spread=spread if np.isfinite(spread) else None,
        prior=None if found.prior is None else float(found.prior[at]),
        loss=None if found.loss is None else float(found.loss[at]),
    )


def _layer_sensitivity(space: SearchSpace, at: int, pairs: list[tuple[int, float]]) -> LayerSensitivity:
    site, macs = space.sites[at], space.costs["macs"][at]
    points = []
    for position, change in sorted(pairs, key=lambda pair: (macs[pair[0]], pair[0])):
        ranks = site.options[position].ranks
        if ranks is not None:
            points.append(
                SensitivityPoint(ranks=ranks, macs_fraction=float(macs[position] / max(macs[-1], 1)), change=change)
            )
    return LayerSensitivity(name=site.name, points=points)


def _state_of_table(session: Session, study: StudyRow) -> Literal["pending", "failed"]:
    jobs = select(JobRow.state).where(JobRow.study_id == study.id, JobRow.kind == "sensitivity")
    return "pending" if session.scalars(jobs).first() in {"waiting", "leased"} else "failed"


def _shares(space: SearchSpace, positions: NDArray[np.int32]) -> NDArray[np.float64]:
    """Which share of its dense macs every layer keeps in every trial, ``(m, n)``."""
    if not positions.size:
        return np.zeros((0, len(space)))
    macs = space.costs["macs"]
    kept: NDArray[np.float64] = macs[space.rows, positions] / np.maximum(macs[:, -1], 1)
    return kept


def _periods(choices: Choices, shares: NDArray[np.float64], periods: int) -> list[Period]:
    if not len(shares):
        return []
    binned = np.minimum((shares * BINS).astype(np.int64), BINS - 1)
    layers = shares.shape[1]
    found = []
    for group in np.array_split(np.arange(len(shares)), min(periods, len(shares))):
        flat = binned[group] + BINS * np.arange(layers)
        counts = np.bincount(flat.ravel(), minlength=BINS * layers).reshape(layers, BINS)
        first, last = int(choices.numbers[group[0]]), int(choices.numbers[group[-1]])
        found.append(Period(first=first, last=last, counts=counts.tolist()))
    return found


def _trial_shares(number: int, shares: NDArray[np.float64]) -> TrialShares:
    return TrialShares(trial=number, shares=[round(share, 4) for share in shares.tolist()])
