"""Which layers' errors matter, as far as a study's trials tell.

Shapes: n sites, m trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.search.error_model import learned
from service.search.sampler import prior
from service.search.space import SearchSpace

__all__ = ["Weighed", "by_error_model", "by_rank_correlation"]

_LEAST_FOR_A_SPREAD = 4
"""Trials: the variance of a correlation has m − 3 below its line."""


@dataclass(frozen=True)
class Weighed:
    """What every site's error is worth, ``(n,)`` each.

    Args:
        importance: the estimate.
        spread: its standard deviation, NaN where there is none.
        prior: what was assumed before; None where nothing was.
        loss: what the site's error costs at the incumbent, of the guide; None where that is not known.
    """

    importance: NDArray[np.float64]
    spread: NDArray[np.float64]
    prior: NDArray[np.float64] | None = None
    loss: NDArray[np.float64] | None = None


def by_error_model(
    space: SearchSpace,
    limits: Mapping[str, float],
    positions: NDArray[np.int64],
    guides: NDArray[np.float64],
    incumbent: int,
) -> Weighed:
    """``s`` of the error model's posterior: what a squared relative error of 1 costs the guide, by the first method.

    Args:
        space: the free sites.
        limits: absolute bounds; at least one.
        positions: of the trials ``(m, n)``.
        guides: of the trials ``(m,)``.
        incumbent: which of the trials is the best; near it the model holds.
    """
    _, weights = prior(space, frozenset(limits.items()))
    model = learned(space, weights, positions, guides, float(guides[incumbent]))
    sites = slice(1, 1 + len(space))
    return Weighed(
        importance=model.mean[sites],
        spread=model.spread[sites],
        prior=model.scale * weights,
        loss=model.costs(space)[space.rows, positions[incumbent]],
    )


def by_rank_correlation(space: SearchSpace, positions: NDArray[np.int64], guides: NDArray[np.float64]) -> Weighed:
    """Spearman's ρ, over the trials, of each site's relative error with the guide; 0 for a site that never changes.

    Its standard deviation by Bonett and Wright, *Sample size requirements for estimating Pearson, Kendall and
    Spearman correlations*, 2000: that of Fisher's z is √((1 + ρ²/2) / (m − 3)), and dρ/dz = 1 − ρ².
    """
    errors = space.errors[space.rows, positions]
    ranked = np.column_stack([_ranks(column) for column in errors.T])
    ranked -= ranked.mean(axis=0)
    of_guides = _ranks(guides)
    of_guides -= of_guides.mean()
    lengths = np.sqrt((ranked**2).sum(axis=0) * (of_guides**2).sum())
    rho = np.divide(of_guides @ ranked, lengths, out=np.zeros(len(space)), where=lengths > 0)
    spread = np.full(len(space), np.nan)
    if len(guides) >= _LEAST_FOR_A_SPREAD:
        spread = (1 - rho**2) * np.sqrt((1 + rho**2 / 2) / (len(guides) - 3))
    return Weighed(rho, spread)


def _ranks(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every entry; equal ones share the mean of theirs."""
    _, which, counts = np.unique(column, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - (counts - 1) / 2)[which]
    return mean
