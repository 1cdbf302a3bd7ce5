"""Options judged by how far they move the network's outputs, in place of their weights' relative errors.

What is estimated for each layer alone adds up where layers do not disturb each other, whatever the layer and the
method. With its root for an error, equal error is the greedy selection of the independent table, as in AIMET: every
site takes the cheapest ranks that keep a bound on the change, the same bound for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.search.space import SearchSpace

__all__ = ["judged"]


def judged(space: SearchSpace, changes: Mapping[str, Sequence[tuple[int, float]]]) -> SearchSpace:
    """The same options, with √change for an error.

    Args:
        space: the free sites.
        changes: site → (position, change) pairs, at least one for each site. Between the positions of a chain that are
            known changes are interpolated over its levels; a chain without any gets the largest of its site.
    """
    squares = np.zeros(space.errors.shape)
    for row, site in enumerate(space.sites):
        known = {at: max(change, 0.0) for at, change in changes[site.name]}
        most = max(known.values())
        for chain in site.positions:
            top = len(chain) - 1
            levels = [level for level, at in enumerate(chain[:-1]) if at in known]
            at_levels = [known[chain[level]] for level in levels] or [most]
            squares[row, list(chain)] = np.interp(np.arange(top + 1), [*(levels or [top - 1]), top], [*at_levels, 0.0])
    return space.judged_by(np.sqrt(squares))
