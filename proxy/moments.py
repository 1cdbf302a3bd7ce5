"""Streamed first and second moments, in float64.

Shapes: N rows, P and Q features.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ChannelMoments", "CrossMoments", "blocks", "rows"]

_ROWS = 1 << 14
"""Rows whose products are summed in float32."""


def _wide(features: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
    return features if features.dtype == torch.float64 else features.float()


def rows(features: Tensor, *, channels_last: bool) -> Float[Tensor, "N P"]:
    """Feature maps (B, P, …) or, with the channels last, (…, P), as one row for every position of every image."""
    if channels_last:
        return features.reshape(-1, features.shape[-1])
    return features.movedim(1, -1).reshape(-1, features.shape[1])


def blocks(matrix: Float[Tensor, "g*I g*J"], groups: int) -> list[Float[Tensor, "I J"]]:
    """The blocks on the diagonal of a matrix cut into groups × groups."""
    return [row.tensor_split(groups, 1)[group] for group, row in enumerate(matrix.tensor_split(groups))]


class ChannelMoments:
    """Mean and variance of every channel over all rows seen.

    Sums are taken about the first batch's mean, so that a large mean does not cancel a small variance away.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin: Tensor | None = None
        self._sum: Tensor | None = None
        self._square: Tensor | None = None

    def add(self, features: Float[Tensor, "N P"]) -> None:
        """Take in more rows."""
        data = features.double()
        if self._origin is None or self._sum is None or self._square is None:
            self._origin = data.mean(0)
            self._sum = torch.zeros_like(self._origin)
            self._square = torch.zeros_like(self._origin)
        data = data - self._origin
        self.count += len(data)
        self._sum = self._sum + data.sum(0)
        self._square = self._square + data.square().sum(0)

    @property
    def mean(self) -> Float[Tensor, " P"]:
        """Mean of every channel."""
        assert self._origin is not None  # noqa: S101 - nobody asks before adding
        assert self._sum is not None  # noqa: S101 - as above
        return self._origin + self._sum / self.count

    @property
    def variance(self) -> Float[Tensor, " P"]:
        """Variance of every channel, over N."""
        assert self._square is not None  # noqa: S101 - nobody asks before adding
        assert self._sum is not None  # noqa: S101 - as above
        return (self._square / self.count - (self._sum / self.count).square()).clamp_min(0)


class CrossMoments:
    """Centred covariance ``Z Zᵀ`` of features and cross-covariance with targets, per row, over all rows seen.

    Sums are taken about the first rows' means and in float64. The products of a few thousand rows at a time are
    taken in float32, unless the features are float64: centred, they lose no more than the features' own rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origins: tuple[Tensor, Tensor] | None = None
        self._sums: tuple[Tensor, Tensor] = (torch.zeros(0), torch.zeros(0))
        self._auto = torch.zeros(0)
        self._cross = torch.zeros(0)

    def add(self, features: Float[Tensor, "N P"], targets: Float[Tensor, "N Q"]) -> None:
        """Take in more rows of both."""
        for z, y in zip(torch.split(features, _ROWS), torch.split(targets, _ROWS), strict=True):
            self._add(_wide(z), _wide(y))

    def _add(self, z: Float[Tensor, "N P"], y: Float[Tensor, "N Q"]) -> None:
        if self._origins is None:
            self._origins = z.mean(0), y.mean(0)
            self._sums = self._origins[0].double() * 0, self._origins[1].double() * 0
            self._auto = self._sums[0].new_zeros(z.shape[1], z.shape[1])
            self._cross = self._sums[0].new_zeros(y.shape[1], z.shape[1])
        z, y = z - self._origins[0], y - self._origins[1]
        self.count += len(z)
        self._sums = self._sums[0] + z.sum(0).double(), self._sums[1] + y.sum(0).double()
        self._auto += (z.mT @ z).double()
        self._cross += (y.mT @ z).double()

    @property
    def means(self) -> tuple[Float[Tensor, " P"], Float[Tensor, " Q"]]:
        """Means of features and targets."""
        assert self._origins is not None  # noqa: S101 - nobody asks before adding
        return self._origins[0] + self._sums[0] / self.count, self._origins[1] + self._sums[1] / self.count

    @property
    def covariance(self) -> Float[Tensor, "P P"]:
        """``E[(z − z̄)(z − z̄)ᵀ]``."""
        shift = self._sums[0] / self.count
        return self._auto / self.count - torch.outer(shift, shift)

    @property
    def cross(self) -> Float[Tensor, "Q P"]:
        """``E[(y − ȳ)(z − z̄)ᵀ]``."""
        return self._cross / self.count - torch.outer(self._sums[1] / self.count, self._sums[0] / self.count)
