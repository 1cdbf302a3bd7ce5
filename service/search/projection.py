"""Encodes any sample as a choice on the budget.

All sites are shifted by one scalar ``t``, found by bisection, so that ``round(clamp(x + t))`` costs at most the
budget; what is then left of the budget is spent by raising single sites. The result never costs more than the
budget: every candidate is priced before it is accepted, and the cheapest choice is what remains otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from service.search.chains import Chains, Levels

__all__ = ["fill", "project"]

_HALVINGS = 40


def project(chains: Chains, sample: NDArray[np.float64], limits: Mapping[str, float]) -> Levels:
    """The choice on the budget that stands for ``sample``.

    Args:
        chains: of the ``n`` sites.
        sample: real-valued levels ``(n,)``, any finite numbers.
        limits: absolute bounds, per cost word.

    Raises:
        ValueError: not even the cheapest choice fits.
    """

    def shifted(by: float) -> Levels:
        return np.floor((sample + by).clip(0, chains.top) + 0.5).astype(np.int64)

    reach = float(np.max(np.abs(sample))) + float(chains.top.max()) + 1
    low, high = -reach, reach
    if not chains.fits(shifted(low), limits):
        raise ValueError(f"no choice fits {dict(limits)}; the cheapest costs {chains.cost(shifted(low))}")
    if chains.fits(shifted(high), limits):
        return shifted(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if chains.fits(shifted(middle), limits) else (low, middle)
    wanted = sample + low
    return fill(chains, shifted(low), limits, lambda levels: levels - wanted)


def fill(
    chains: Chains,
    levels: Levels,
    limits: Mapping[str, float],
    order: Callable[[Levels], NDArray[np.float64]],
) -> Levels:
    """Spend what is left of the budget: raise the first site whose next option fits, and again, until none does.

    Args:
        chains: of the ``n`` sites.
        levels: a choice that fits ``(n,)``.
        limits: absolute bounds, per cost word.
        order: at given levels, a key for every site ``(n,)``; the smallest is raised first, ties go to the
            earlier site.
    """
    filled = levels.copy()
    while True:
        for site in np.argsort(order(filled), kind="stable"):
            if filled[site] >= chains.top[site]:
                continue
            filled[site] += 1
            if chains.fits(filled, limits):
                break
            filled[site] -= 1
        else:
            return filled
