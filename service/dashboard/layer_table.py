"""The layers of a model as pages show them: what each costs, and what each method could make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from ranksearch.contracts.profiles import GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.study_requests import StudyRequest

__all__ = ["CostRange", "Layer", "LayerTable"]

_PREFERRED: Final[list[Method]] = StudyRequest.model_fields["methods"].default
_METHODS: Final[list[Method]] = [*_PREFERRED, *(one for one in get_args(Method) if one not in (*_PREFERRED, "dense"))]
"""All that factorise, those that a study uses by itself first."""


@dataclass(frozen=True)
class CostRange:
    """What one method can make of one layer: the choices of the fewest, the median and the most macs."""

    dense_macs: int
    smallest: GridPoint
    median: GridPoint
    largest: GridPoint

    @property
    def shares(self) -> tuple[float, float, float]:
        """Their macs, of the dense layer's."""
        whole = max(1, self.dense_macs)
        return self.smallest.macs / whole, self.median.macs / whole, self.largest.macs / whole


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        site: as its profile has it.
        share: of the network's macs.
        ranges: by method; methods that have no grid for the layer are missing.
    """

    site: SiteProfile
    share: float
    ranges: Mapping[Method, CostRange]

    @property
    def is_free(self) -> bool:
        """Whether there is a choice; else ``site.reason_dense`` says why not."""
        return bool(self.ranges)

    @property
    def shape(self) -> str:
        """Of its weight: "64 × 32 × 3 × 3"."""
        return " × ".join(str(size) for size in self.site.weight_shape)


class LayerTable:
    """All layers of an inspected model, in forward order.

    Args:
        profile: of the model.
    """

    def __init__(self, profile: ModelProfile) -> None:
        self.profile = profile
        self.layers = [_layer(site, profile.dense.macs) for site in profile.sites]
        self.methods: list[Method] = [one for one in _METHODS if any(one in layer.ranges for layer in self.layers)]
        """Those that have a grid for some layer."""

    @property
    def free(self) -> list[Layer]:
        """The layers for which there is a choice."""
        return [layer for layer in self.layers if layer.is_free]

    @property
    def free_share(self) -> float:
        """How much of the network's macs they take."""
        return sum(layer.share for layer in self.free)


def _layer(site: SiteProfile, macs: int) -> Layer:
    ranges: dict[Method, CostRange] = {
        method: CostRange(site.macs, grid[0], grid[len(grid) // 2], grid[-1])
        for method, grid in site.grids.items()
        if grid and method != "dense"
    }
    return Layer(site, site.macs / max(1, macs), ranges)
