"""Pareto fronts: the points that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["front"]


def front(losses: Sequence[tuple[float, ...]]) -> list[int]:
    """The points that no other dominates, by the first loss, the least first; of equal points only the first.

    Args:
        losses: of every point, as many for each; less is better.

    Returns:
        Their numbers.
    """
    members: list[int] = []
    for at in sorted(range(len(losses)), key=lambda one: (losses[one], one)):
        # Whatever dominates this point comes before it in this order, or is dominated by a member itself.
        if not any(_at_least_as_good(losses[member], losses[at]) for member in members):
            members.append(at)
    return members


def _at_least_as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(mine <= its for mine, its in zip(one, other, strict=True))
