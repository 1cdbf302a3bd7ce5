"""What earlier studies of the same model have to say in the space of a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.goals import Metric
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.studies import TrialResult
from service.scheduling.verdicts import Goal
from service.search.plan import Past
from service.search.space import SearchSpace
from service.storage.tables import JobRow, StudyRow

__all__ = ["transferred"]


def transferred(session: Session, goal: Goal, space: SearchSpace) -> tuple[Past, ...]:
    """The complete trials of the studies to learn from, at this space's positions and by this study's metric.

    Left out are trials whose ranks this space has not, and those that did not measure this study's metric.
    """
    where = _Places(space)
    return tuple(past for study in goal.request.from_studies for past in _of_study(session, study, goal, where))


class _Places:
    """Where in a space ranks are."""

    def __init__(self, space: SearchSpace) -> None:
        self._sites = space.sites
        self._positions = {
            site.name: {option.ranks: at for at, option in enumerate(site.options)} for site in space.sites
        }

    def of(self, ranks: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The positions of a stored rank vector; None where the space does not have them."""
        chosen = {name: LayerRanks.model_validate(choice) for name, choice in ranks.items()}
        if not chosen.keys() <= self._positions.keys():
            return None
        found = [self._positions[site.name].get(chosen.get(site.name)) for site in self._sites]
        return None if None in found else tuple(at for at in found if at is not None)


def _of_study(session: Session, study: str, goal: Goal, where: _Places) -> Iterator[Past]:
    metric = session.scalars(select(StudyRow.metric).where(StudyRow.id == study)).one()
    complete = (JobRow.study_id == study, JobRow.kind == "trial", JobRow.state == "done")
    rows = select(JobRow.trial_number, JobRow.ranks, JobRow.result).where(*complete).order_by(JobRow.trial_number)
    for number, ranks, stored in session.execute(rows):
        positions = where.of(ranks or {})
        result = _by_metric(TrialResult.model_validate(stored), metric, goal.metric)
        if positions is not None and result is not None:
            yield Past(
                number=number or 0,
                origin="transfer",
                positions=positions,
                value=result.value,
                guide=goal.guide(result),
                drop=goal.drop(result),
                feasible=goal.feasible(result),
                latency_ms=None if result.latency is None else result.latency.latency_ms,
            )


def _by_metric(result: TrialResult, its: str, wanted: Metric) -> TrialResult | None:
    """The result with ``wanted`` for its value; None where that was not measured."""
    if its == wanted:
        return result
    value: float | None = getattr(result, wanted)
    return None if value is None else result.model_copy(update={"value": value, "dense_value": None})
