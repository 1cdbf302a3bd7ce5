"""How well one order of the same things agrees with another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

__all__ = ["kendall_tau"]

_FEWEST = 3
"""Of two things, the order is right or wrong by chance."""


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's τ-b: 1 where both have the same order, −1 where one is the other reversed; ties are allowed for.

    (C − D) / √((C + D + T₁)(C + D + T₂)) with C concordant and D discordant pairs, and T those tied in one alone
    (Kendall, The treatment of ties in ranking problems, Biometrika 33, 1945).

    Args:
        first: one number a thing.
        second: another one, of the same things.

    Returns:
        None for fewer than three, or where one of the two ties all of them.
    """
    if len(first) < _FEWEST:
        return None
    concordant = discordant = tied_first = tied_second = 0
    for (a, x), (b, y) in combinations(zip(first, second, strict=True), 2):
        if a == b and x == y:
            continue
        if a == b:
            tied_first += 1
        elif x == y:
            tied_second += 1
        elif (a < b) == (x < y):
            concordant += 1
        else:
            discordant += 1
    untied = concordant + discordant
    whole = math.sqrt((untied + tied_first) * (untied + tied_second))
    return None if whole == 0 else (concordant - discordant) / whole
