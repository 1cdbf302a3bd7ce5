"""What is known before a trial is chosen, and what choosing it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ranksearch.contracts.studies import TrialOrigin
from service.search.chains import Positions
from service.search.space import SearchSpace, Selection

__all__ = ["Choice", "Past", "Sample", "SearchPlan", "sample_at"]


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


@dataclass(frozen=True)
class Sample:
    """Methods ``(n,)`` and real-valued levels on their chains ``(n,)``: a choice, off the grid and off the budget."""

    selection: Selection
    levels: NDArray[np.float64]


def sample_at(space: SearchSpace, positions: Positions) -> Sample:
    """The sample that lies on these options; where they are dense, by the preferred method."""
    selection = space.selection(positions, space.preferred)
    return Sample(selection, space.levels(positions, selection).astype(np.float64))
