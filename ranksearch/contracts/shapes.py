"""Shapes as people say them."""

from __future__ import annotations

from collections.abc import Sequence

from ranksearch.contracts.dataset_summaries import DatasetSummary

__all__ = ["sample_shapes", "sizes"]


def sizes(shape: Sequence[int]) -> str:
    """A shape: "3×224×224"; of a single number: "1"."""
    return "×".join(str(size) for size in shape) or "1"


def sample_shapes(summary: DatasetSummary) -> str:
    """The shape of a data set's images, or of every input with its name: "rgb 3×64×64, depth 1×64×64"."""
    plain = len(summary.inputs) == 1 and summary.inputs[0].layout is not None
    return ", ".join(f"{'' if plain else f'{one.name} '}{sizes(one.shape)}" for one in summary.inputs)
