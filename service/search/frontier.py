"""The options of every site that are worth their cost, whatever their method: what equal error walks along."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.search.chains import Chains
from service.search.feasibility import thriftiest
from service.search.space import SearchSpace

__all__ = ["frontier"]


def frontier(space: SearchSpace, limits: Mapping[str, float]) -> Chains:
    """One chain for every site, through the options of all its methods.

    A step up costs no less of anything that is bounded, and more of something; for it the error falls. Where one
    cost is bounded, the chain is the Pareto front of that cost and the error: for any bound on the error, the
    cheapest option of any method that keeps it. Where both are, two methods may each be the cheaper one in one of
    them; of all chains from the thriftiest option to the dense layer, this is then the one with the least error on
    average over the share of the budget that the site is given. A site with one method has that method's chain.

    The chains begin at options that fit together if any do.
    """
    alone = space.under(space.preferred)
    thrifty = thriftiest(space, limits)
    starts = space.under(thrifty).positions(np.zeros(len(space), dtype=np.int64))
    chains = []
    for site, (count, start, top) in enumerate(zip(space.method_counts, starts, alone.top, strict=True)):
        whole = np.arange(top + 1)
        costs = np.array([space.costs[word][site, : len(space.sites[site].options)] for word in limits])
        shares = (costs / np.array(list(limits.values()))[:, None]).sum(axis=0)
        errors = space.errors[site, : len(space.sites[site].options)]
        chains.append(whole if count == 1 else _least_error(costs, shares, errors, int(start), int(top)))
    height = max(len(chain) for chain in chains)
    positions = np.array([np.pad(chain, (0, height - len(chain)), mode="edge") for chain in chains])
    return Chains(space, positions, np.array([len(chain) - 1 for chain in chains]))


def _least_error(
    costs: NDArray[np.int64], shares: NDArray[np.float64], errors: NDArray[np.float64], start: int, dense: int
) -> NDArray[np.int64]:
    """The chain from ``start`` to ``dense`` with the least ∫ error d share, its options' positions.

    Shortest path through a graph without cycles: options in order of share, from each to those that may follow,
    the length of a step being the error before it times the share that it adds.

    Args:
        costs: of the options ``(words, options)``.
        shares: of the budget ``(options,)``.
        errors: ``(options,)``.
        start: position of the first option, or of one that costs the same; what costs less in any word is left out.
        dense: position of the last.
    """
    alike = np.flatnonzero((costs == costs[:, [start]]).all(axis=0))
    start = int(alike[np.argmin(errors[alike])])
    between = (costs >= costs[:, [start]]).all(axis=0) & (shares > shares[start]) & (errors < errors[start])
    between[dense] = False
    candidates: list[int] = np.flatnonzero(between).tolist()
    order = [*sorted(candidates, key=lambda at: (shares[at], errors[at])), dense]
    length = np.full(errors.size, np.inf)
    length[start] = 0.0
    before = np.full(errors.size, start)
    for at in order:
        steps = length + errors * (shares[at] - shares)
        allowed = (costs <= costs[:, [at]]).all(axis=0)
        if at != dense:  # to the dense layer one may always go: it costs no less than anything, and has no error
            allowed &= (shares < shares[at]) & (errors > errors[at])
        steps[~allowed] = np.inf
        before[at] = np.argmin(steps)
        length[at] = steps[before[at]]
    chain = [dense]
    while chain[-1] != start:
        chain.append(int(before[chain[-1]]))
    return np.array(chain[::-1])
