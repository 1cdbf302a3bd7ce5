"""What is known before a trial is chosen, and what choosing it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.goals import Objective, Sampler, WarmStart
from ranksearch.contracts.studies import TrialOrigin
from service.search.chains import Positions
from service.search.space import SearchSpace, Selection

__all__ = ["Choice", "Past", "Sample", "SearchPlan", "sample_at"]


@dataclass(frozen=True)
class Past:
    """An earlier trial; one that failed is not among the past.

    Args:
        number: of the trial.
        origin: where its ranks came from.
        positions: its options, ``(n,)``.
        value: the study's metric; None while it runs.
        guide: the statistic that the search follows: smaller is better, 0 is the dense network. Trials that were
            stopped early have one, too, made comparable with the others; None while it runs.
        drop: how much of the metric it loses against the dense network on the same images; None while it runs and
            for one that was stopped early.
        feasible: whether it keeps the bounds that are measured (latency, ``max_drop``); None while it runs.
        latency_ms: measured, where it was.
        pruned: it was stopped early.
    """

    number: int
    origin: TrialOrigin
    positions: tuple[int, ...]
    value: float | None
    guide: float | None = None
    drop: float | None = None
    feasible: bool | None = None
    latency_ms: float | None = None
    pruned: bool = False

    @property
    def complete(self) -> bool:
        """Whether it was measured on all the images that trials are measured on."""
        return self.value is not None and not self.pruned


@dataclass(frozen=True)
class SearchPlan:
    """What stays the same for all trials of a study.

    Args:
        limits: upper bounds in absolute numbers, per cost word.
        direction: of the metric.
        seed: of all randomness.
        n_startup_trials: trials drawn around the best warm start before a sampler is asked that learns.
        objectives: as in the study's request.
        max_drop: how much of the metric the smallest network may lose.
        sampler: as asked for.
        warm_starts: allocations to try first, in this order.
        judged: the space with every option judged by how far it alone moves the outputs (:mod:`.changes`), for
            ``greedy`` and the error model; None while that is not known.
        transfer: trials of earlier studies of the same model, at the positions of this study's space.
    """

    limits: Mapping[str, float]
    direction: Literal["maximize", "minimize"]
    seed: int
    n_startup_trials: int
    objectives: tuple[Objective, ...] = ("proxy",)
    max_drop: float | None = None
    sampler: Sampler = "auto"
    warm_starts: tuple[WarmStart, ...] = ("uniform", "equal_error")
    judged: SearchSpace | None = None
    transfer: tuple[Past, ...] = field(default=())


@dataclass(frozen=True)
class Choice:
    """The next trial."""

    positions: Positions
    origin: TrialOrigin


@dataclass(frozen=True)
class Sample:
    """Methods ``(n,)`` and real-valued levels on their chains ``(n,)``: a choice, off the grid and off the budget."""

    selection: Selection
    levels: NDArray[np.float64]


def sample_at(space: SearchSpace, positions: Positions) -> Sample:
    """The sample that lies on these options; where they are dense, by the preferred method."""
    selection = space.selection(positions, space.preferred)
    return Sample(selection, space.levels(positions, selection).astype(np.float64))
