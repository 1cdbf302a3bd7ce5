"""The least rank that fits, with few trials."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["least_that_fits"]


def least_that_fits(top: int, fits: Callable[[int], bool]) -> int:
    """The least rank that fits, if fitting is monotone; the top where nothing fits below it."""
    low, high = 0, 1
    while high < top and not fits(high):  # doubling first: the large ranks are the dear ones
        low, high = high, min(2 * high, top)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high
