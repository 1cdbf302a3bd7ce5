"""The rank grid of a layer: which ranks are worth trying, and what each costs.

Shapes: g groups, T output and S input channels of the whole layer, D kernel positions, kh × kw kernel; positions are
output (or input, or intermediate) pixels of one image, summed over all calls of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, prod
from typing import Any, NamedTuple

from proxy.layout import ORDINARY, Layout
from proxy.ranks import METHODS, Ranks, maximum_ranks, show_ranks
from proxy.solvers import refuse_shape

__all__ = ["Geometry", "GridPoint", "rank_grids"]


class GridPoint(NamedTuple):
    """One choice for a layer: ranks as users write them, MACs of one image, parameters with the bias."""

    ranks: dict[str, Any]
    macs: int
    params: int


@dataclass(frozen=True)
class Geometry:
    """What a layer's cost depends on.

    A convolution multiplies every entry of its weight once at each of its output positions, a transposed one at
    each of its input positions.

    Args:
        shape: of the weight, in its own layout.
        bias: entries of the bias.
        before: input positions.
        between: positions after a vertical (kh × 1) layer with the dense one's vertical stride.
        after: output positions.
        layout: of the weight.
    """

    shape: tuple[int, ...]
    bias: int
    before: int
    between: int
    after: int
    layout: Layout = ORDINARY

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of one group's kernel, ``(T/g, S/g, k…)``: what ranks refer to."""
        return self.layout.kernel_shape(self.shape)

    @property
    def macs(self) -> int:
        """MACs of the dense layer."""
        return prod(self.shape) * (self.before if self.layout.transposed else self.after)

    @property
    def params(self) -> int:
        """Parameters of the dense layer."""
        return prod(self.shape) + self.bias

    def point(self, method: str, ranks: Ranks) -> GridPoint:
        """What the layer costs, factorised."""
        chain = self._chain(method, ranks)
        macs = sum(entries * positions for entries, positions in chain)
        return GridPoint(show_ranks(method, ranks), macs, sum(entries for entries, _ in chain) + self.bias)

    def _chain(self, method: str, ranks: Ranks) -> list[tuple[int, int]]:
        """(entries of the weight, positions where it is multiplied) of every layer of the chain, without the bias."""
        out, inn = self.layout.channels(self.shape)
        depth, first, last = self.layout.groups * prod(self.shape[2:]), ranks[0], ranks[-1]
        walked = self.before if self.layout.transposed else self.after
        if method == "svd":
            return [(inn * first, walked), (first * out, self.after)]
        if method == "spatial_svd":
            middle = (self.before, self.between) if self.layout.transposed else (self.between, self.after)
            return [(inn * self.shape[2] * first, middle[0]), (first * out * self.shape[3], middle[1])]
        if method == "tucker2":
            return [(inn * last, self.before), (depth * first * last, walked), (first * out, self.after)]
        if method == "tucker2_cp3":
            groups, narrow = self.layout.groups, ranks[1]
            early = [(inn * narrow, self.before), (groups * narrow * last, self.before)]
            return [*early, (depth * last, walked), (groups * last * first, self.after), (first * out, self.after)]
        return [(inn * first, self.before), (depth * first, walked), (first * out, self.after)]


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
        if refuse_shape(method, geometry.kernel_shape) is None:
            grid = _grid(geometry, method, points, lowest, rank_multiple)
            if grid:
                grids[method] = grid
    return grids


def _grid(geometry: Geometry, method: str, points: int, lowest: float, multiple: int) -> list[GridPoint]:
    candidates = [
        point
        for point in (geometry.point(method, ranks) for ranks in _path(geometry.kernel_shape, method, multiple))
        if point.macs < geometry.macs and point.params < geometry.params and not _outdone(geometry, method, point)
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


def _outdone(geometry: Geometry, method: str, point: GridPoint) -> bool:
    """Whether the CP that a Tucker-2 with a CP core amounts to costs no more as a plain CP, with two layers less."""
    if method != "tucker2_cp3":
        return False
    plain = geometry.point("cp3", (point.ranks["ranks"]["cp"],))
    return plain.macs <= point.macs and plain.params <= point.params


def _path(shape: tuple[int, ...], method: str, multiple: int) -> list[Ranks]:
    """All ranks on the way up: every rank, for Tucker-2 the pairs proportional to (T/g, S/g), with a CP core R besides.

    ``R = (0.9 + f³/2) (R_out + R_in)`` with f the share of the channels kept. Measured on five kernels of a ResNet-56
    (16×16 to 64×64): among all R with (R_out, R_in) proportional to (T, S), the least error at given MACs lies at ``R
    / (R_out + R_in)`` about 0.9 for 20 %, 0.9 to 1.1 for 33 %, 1.0 for 50 %, 1.1 for 65 %, 1.1 to 1.35 for 80 % of
    the MACs. This path's error exceeds the least by up to 3.5 % on 64×64, 8 % on 64×32 and 32×32, 15 % on 16×16,
    where ranks are coarse; that of R = R_out + R_in by up to 44 % at 80 % of the MACs, that of R = 1.3 (R_out + R_in)
    by up to 15 % at 33 %. Plain CP had the smaller error at every budget; a CP core has the smaller sensitivity, by
    22–45 % at the same number of parameters.
    """
    limits = maximum_ranks(method, shape)[:2]
    longest = max(limits)
    path: list[Ranks] = []
    for step in range(1, longest + 1):
        ranks = tuple(_rounded(step * limit / longest, limit, multiple) for limit in limits)
        if method == "tucker2_cp3":
            (most,) = maximum_ranks("cp3", (*ranks, prod(shape[2:])))
            ranks = (*ranks, _rounded((0.9 + (step / longest) ** 3 / 2) * sum(ranks), most, multiple))
        if (not path or path[-1] != ranks) and _useful(method, ranks, shape):
            path.append(ranks)
    return path


def _rounded(rank: float, limit: int, multiple: int) -> int:
    return min(limit, max(multiple, round(rank / multiple) * multiple))


def _useful(method: str, ranks: Ranks, shape: tuple[int, ...]) -> bool:
    """No core mode of Tucker-2 may exceed the product of the others: it would hold empty directions.

    A CP core whose rank is not above the other two would not need them: it is a plain CP in more layers.
    """
    if method == "tucker2_cp3":
        return ranks[2] > max(ranks[:2])
    depth = prod(shape[2:])
    return method != "tucker2" or (ranks[0] <= ranks[1] * depth and ranks[1] <= ranks[0] * depth)
