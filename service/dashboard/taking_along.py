"""Ranks as texts that people take along: JSON for programs, and the Python that makes the network."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from ranksearch.contracts.ranks import RankVector

__all__ = ["as_json", "as_python"]


def as_json(told: RankVector | BaseModel) -> str:
    """One layer a line where it is a rank vector."""
    if isinstance(told, BaseModel):
        return told.model_dump_json(by_alias=True, indent=2, exclude_none=True)
    lines = [f"  {json.dumps(name)}: {json.dumps(choice)}" for name, choice in _plain(told).items()]
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


def as_python(ranks: RankVector) -> str:
    """A program that compresses the network by these ranks; layers that they leave out stay dense."""
    lines = "".join(f"    {name!r}: {choice!r},\n" for name, choice in _plain(ranks).items())
    return (
        "import proxy\nimport ranksearch\n\n"
        'network = ranksearch.load("model.safetensors")\n'
        f"ranks = {{\n{lines}}}\n"
        "small = proxy.compress(network, ranks)\n"
        '# then, with calibration images: proxy.calibrate(small, batches, reference=network, level="reconstruction")\n'
    )


def _plain(ranks: RankVector) -> dict[str, dict[str, Any]]:
    return {name: choice.model_dump(mode="json", by_alias=True) for name, choice in ranks.items()}
