"""The rank grid of a layer: which ranks are worth trying, and what each costs.

Shapes: T output channels, S input channels, D kernel positions, kh × kw kernel; positions are output (or
input, or intermediate) pixels of one image, summed over all calls of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, prod
from typing import Any, NamedTuple

from proxy.decompose import refuse_shape
from proxy.ranks import METHODS, Ranks, maximum_ranks, show_ranks

__all__ = ["Geometry", "GridPoint", "rank_grids"]


class GridPoint(NamedTuple):
    """One choice for a layer: ranks as users write them, MACs of one image, parameters with the bias."""

    ranks: dict[str, Any]
    macs: int
    params: int


@dataclass(frozen=True)
class Geometry:
    """What a layer's cost depends on.

    Args:
        shape: of the weight, ``(T, S, k…)``.
        bias: entries of the bias.
        before: input positions.
        between: positions after a vertical (kh × 1) convolution with the layer's vertical stride.
        after: output positions.
    """

    shape: tuple[int, ...]
    bias: int
    before: int
    between: int
    after: int

    @property
    def macs(self) -> int:
        """MACs of the dense layer."""
        return prod(self.shape) * self.after

    @property
    def params(self) -> int:
        """Parameters of the dense layer."""
        return prod(self.shape) + self.bias

    def point(self, method: str, ranks: Ranks) -> GridPoint:
        """What the layer costs, factorised."""
        out, inn, depth = self.shape[0], self.shape[1], prod(self.shape[2:])
        first, last = ranks[0], ranks[-1]
        if method == "svd":
            macs, params = first * (inn + out) * self.after, first * (inn + out)
        elif method == "spatial_svd":
            half_in, half_out = inn * self.shape[2], out * self.shape[3]
            macs = first * (half_in * self.between + half_out * self.after)
            params = first * (half_in + half_out)
        elif method == "tucker2":
            kept = first * last * depth + first * out
            macs, params = inn * last * self.before + kept * self.after, inn * last + kept
        else:
            macs = first * (inn * self.before + (depth + out) * self.after)
            params = first * (inn + depth + out)
        return GridPoint(show_ranks(method, ranks), macs, params + self.bias)


def rank_grids(
    geometry: Geometry, *, points: int = 16, lowest: float = 0.04, rank_multiple: int = 1
) -> dict[str, list[GridPoint]]:
    """Method → its grid, from cheap to dear, for every method that can make the layer cheaper.

    The points lie about evenly in log MACs, from the fraction ``lowest`` of the dense layer's (or rank 1) up to
    break-even: every point costs fewer MACs and fewer parameters than the dense layer. The top of the grid,
    staying dense, is not in the list.

    Args:
        geometry: the layer.
        points: most points of a grid; fewer where there are fewer ranks.
        lowest: fraction of the dense layer's MACs where the grid begins.
        rank_multiple: ranks are multiples of this, or the maximum where that is smaller.
    """
    grids = {}
    for method in METHODS:
        if refuse_shape(method, geometry.shape) is None:
            grid = _grid(geometry, method, points, lowest, rank_multiple)
            if grid:
                grids[method] = grid
    return grids


def _grid(geometry: Geometry, method: str, points: int, lowest: float, multiple: int) -> list[GridPoint]:
    candidates = [
        point
        for point in (geometry.point(method, ranks) for ranks in _path(geometry.shape, method, multiple))
        if point.macs < geometry.macs and point.params < geometry.params
    ]
    worthwhile = [point for point in candidates if point.macs >= lowest * geometry.macs] or candidates[-1:]
    if len(worthwhile) <= points:
        return worthwhile
    low, high = log(worthwhile[0].macs), log(worthwhile[-1].macs)
    chosen = []
    for step in range(points):
        target = low + (high - low) * step / max(points - 1, 1)
        nearest = min(worthwhile, key=lambda point: abs(log(point.macs) - target))
        if nearest not in chosen:
            chosen.append(nearest)
    return chosen


def _path(shape: tuple[int, ...], method: str, multiple: int) -> list[Ranks]:
    """All ranks on the way up: every rank, or for Tucker-2 the pairs proportional to (T, S)."""
    limits = maximum_ranks(method, shape)
    longest = max(limits)
    path: list[Ranks] = []
    for step in range(1, longest + 1):
        ranks = tuple(_rounded(step * limit / longest, limit, multiple) for limit in limits)
        if (not path or path[-1] != ranks) and _useful(method, ranks, shape):
            path.append(ranks)
    return path


def _rounded(rank: float, limit: int, multiple: int) -> int:
    return min(limit, max(multiple, round(rank / multiple) * multiple))


def _useful(method: str, ranks: Ranks, shape: tuple[int, ...]) -> bool:
    """No core mode of Tucker-2 may exceed the product of the others: it would hold empty directions."""
    depth = prod(shape[2:])
    return method != "tucker2" or (ranks[0] <= ranks[1] * depth and ranks[1] <= ranks[0] * depth)
