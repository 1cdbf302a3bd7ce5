"""Rank vectors on the wire: ``{"layer1.0.conv1": {"method": "tucker2", "ranks": {"out": 32, "in": 24}}}``.

A single rank is ``{"rank": 48}``; a layer left as it is, ``{"method": "dense"}``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["LayerRanks", "Method", "RankVector", "TuckerRanks"]

Method = Literal["dense", "svd", "spatial_svd", "tucker2", "cp3", "tucker2_cp3"]
Rank = Annotated[int, Field(ge=1, le=1_000_000)]


def _is_none(value: object) -> bool:
    """What a method does not take is left out, not sent as null."""
    return value is None


_SINGLE = {"svd", "spatial_svd", "cp3"}


class TuckerRanks(BaseModel):
    """Named ranks, in the positional order of the weight ``(O, I, kH, kW)``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    out: Rank
    in_: Rank = Field(alias="in")
    cp: Rank | None = Field(default=None, exclude_if=_is_none)


class LayerRanks(BaseModel):
    """What becomes of one layer: its method, and that method's rank or ranks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method
    rank: Rank | None = Field(default=None, exclude_if=_is_none)
    ranks: TuckerRanks | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="after")
    def _fits_its_method(self) -> LayerRanks:
        wants_rank = self.method in _SINGLE
        wants_ranks = self.method in {"tucker2", "tucker2_cp3"}
        if wants_rank != (self.rank is not None) or wants_ranks != (self.ranks is not None):
            wanted = '"rank": R' if wants_rank else '"ranks": {"out": …, "in": …}' if wants_ranks else "no rank"
            raise ValueError(f"method {self.method!r} takes {wanted}")
        if wants_ranks and (self.ranks is not None) and (self.method == "tucker2_cp3") != (self.ranks.cp is not None):
            raise ValueError('"ranks" has a "cp" member for tucker2_cp3, and only for it')
        return self


RankVector = dict[str, LayerRanks]
"""Keyed by the module's qualified name in the user's network."""
