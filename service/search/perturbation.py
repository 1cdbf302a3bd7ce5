"""Random steps around a choice, and the way of any sample onto the budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.search.chains import Positions
from service.search.feasibility import affordable
from service.search.plan import Sample
from service.search.projection import project
from service.search.space import SearchSpace

__all__ = ["anywhere", "perturbed", "projected"]


def projected(space: SearchSpace, sample: Sample, limits: Mapping[str, float]) -> Positions:
    """The choice on the budget that stands for ``sample``, by its methods as far as the budget has room for them."""
    selection = affordable(space, sample.selection, limits)
    chains = space.under(selection)
    return chains.positions(project(chains, space.carried(sample.levels, sample.selection, selection), limits))


def perturbed(space: SearchSpace, around: Sample, rng: np.random.Generator, widen: int) -> Sample:
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


def anywhere(space: SearchSpace, rng: np.random.Generator) -> Sample:
    """Any methods and any levels, all alike likely."""
    selection = rng.integers(0, space.method_counts)
    return Sample(selection, rng.uniform(0, space.under(selection).top))
