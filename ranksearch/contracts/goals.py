"""What a study is after: bounds on the cost, objectives, how much may be lost, what ends it early, how it searches."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ranksearch.contracts.base import Request
from ranksearch.contracts.profiles import Cost

__all__ = [
    "Constraints",
    "CostWord",
    "Level",
    "Metric",
    "Objective",
    "Pruner",
    "Sampler",
    "SearchImages",
    "WarmStart",
    "percentage",
]

Metric = Literal["accuracy", "kl", "loss", "features", "outputs"]
"""The proxy. ``accuracy`` is the only one of which more is better; ``accuracy`` and ``loss`` need labels.

These three and ``kl`` are for class scores; ``outputs`` compares outputs of any kind with the dense network's, and
``features`` what its layers compute.
"""
CostWord = Literal["macs", "params", "latency_ms"]
Objective = Literal["proxy", "macs", "params", "latency_ms"]
"""``proxy`` is the study's metric; the others are costs, and less of them is better."""
Level = Literal["statistics", "reconstruction"]
"""How far a compressed network is calibrated; see :func:`proxy.calibrate`."""
Sampler = Literal["auto", "error_model", "local", "tpe", "cmaes", "nsga2", "random"]
"""``auto`` is the one that won ``benchmarks/samplers.py`` for the kind of study."""
Pruner = Literal["wilcoxon", "none"]
WarmStart = Literal["uniform", "equal_error", "vbmf", "energy", "greedy"]
"""Allocations computed before anything is sampled; they are trials like any other."""

_PERCENT = re.compile(r"^(\d{1,3}(?:\.\d{1,6})?)\s*%$")


def percentage(bound: str) -> float:
    """``"33%"`` → 0.33.

    Raises:
        ValueError: not a percentage above 0 and at most 100.
    """
    match = _PERCENT.match(bound)
    if match is None or not 0 < float(match[1]) <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f'{bound!r} is neither a number nor a percentage of the original such as "33%"')
    return float(match[1]) / 100


def _checked_percentage(bound: str) -> str:
    percentage(bound)
    return bound


_Percent = Annotated[str, AfterValidator(_checked_percentage)]
Bound = Annotated[int, Field(gt=0)] | _Percent
"""An upper bound: absolute, or per cent of the dense network's."""


class Constraints(Request):
    """Upper bounds on the whole network.

    ``macs`` and ``params`` hold for every trial by construction; ``latency_ms`` is measured on the worker that
    evaluates the trial, and a trial above it cannot be the best.
    """

    macs: Bound | None = None
    params: Bound | None = None
    latency_ms: Annotated[float, Field(gt=0)] | _Percent | None = Field(
        default=None, description="milliseconds a batch of one, or per cent of the dense network's on the same worker"
    )

    @property
    def given(self) -> bool:
        """Whether anything is bounded."""
        return not (self.macs is None and self.params is None and self.latency_ms is None)

    def limits(self, dense: Cost) -> dict[str, int]:
        """The bounds on macs and params in absolute numbers: the largest cost that is still allowed."""
        bounds = {"macs": (self.macs, dense.macs), "params": (self.params, dense.params)}
        return {
            word: int(percentage(bound) * whole) if isinstance(bound, str) else bound
            for word, (bound, whole) in bounds.items()
            if bound is not None
        }

    def latency_limit(self, dense_ms: float) -> float | None:
        """The bound on the latency in milliseconds, where the dense network takes ``dense_ms``."""
        bound = self.latency_ms
        return percentage(bound) * dense_ms if isinstance(bound, str) else bound


class SearchImages(Request):
    """How many images a trial uses; None: all that the study has.

    The finalists and the compressed model that is handed out use all of them. The defaults are what
    ``benchmarks/proxy_fidelity.py`` found to be enough.
    """

    calibration: int | None = Field(default=256, ge=1)
    validation: int | None = Field(default=1000, ge=1)
