"""What ``submit`` can be told: its options, by what they decide, and what is made of their words."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from ranksearch.client.goals import DEFAULT_BUDGET, Images
from ranksearch.contracts.errors import InputError

__all__ = [
    "BOUNDS",
    "BatchSize",
    "Finalists",
    "FromStudy",
    "KeepDense",
    "LatencyMs",
    "LevelName",
    "Macs",
    "MaxDrop",
    "Methods",
    "MetricName",
    "NTrials",
    "Objectives",
    "Params",
    "Plateau",
    "PrunerName",
    "SamplerName",
    "SearchImagesPair",
    "Seed",
    "StudyTimeout",
    "Target",
    "WarmStarts",
    "bounds",
    "images",
    "words",
]

BOUNDS: Final = ("macs", "params", "latency_ms")

_GOAL: Final = "What to search for"
_SEARCH: Final = "How to search"
_END: Final = "When to stop"

Macs = Annotated[
    str | None,
    typer.Option(
        "--macs",
        help=f'Upper bound, as "33%" or a number. Without a bound, a drop or objectives: {DEFAULT_BUDGET}.',
        rich_help_panel=_GOAL,
    ),
]
Params = Annotated[str | None, typer.Option("--params", help="Upper bound, likewise.", rich_help_panel=_GOAL)]
LatencyMs = Annotated[
    str | None,
    typer.Option(
        "--latency-ms",
        help='Upper bound: milliseconds a batch of one, or "50%" of the dense network\'s, on the searching worker.',
        rich_help_panel=_GOAL,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        help="Search the smallest network that loses at most this: 0.01 is one point of accuracy; nats for kl and "
        "loss. Without --objectives: the fewest macs.",
        min=0,
        rich_help_panel=_GOAL,
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objectives",
        help='Several give a front, as "proxy,macs"; one of macs, params and latency_ms goes with --max-drop.',
        rich_help_panel=_GOAL,
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="kl, accuracy, loss or features. Without it: kl; with --max-drop accuracy where there are labels.",
        rich_help_panel=_GOAL,
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        help="Among which the search chooses each layer's, in order of preference: cp3, tucker2, tucker2_cp3 "
        "and spatial_svd for convolutions, svd for 1×1 ones and linear layers. Without it: cp3,svd.",
        rich_help_panel=_GOAL,
    ),
]
KeepDense = Annotated[
    list[str] | None,
    typer.Option("--keep-dense", help="A layer that stays as it is; may be repeated.", rich_help_panel=_GOAL),
]
LevelName = Annotated[
    str | None,
    typer.Option(
        "--level",
        help="Calibration: statistics alone, or reconstruction (every layer fitted to its output). "
        "Without it: reconstruction.",
        rich_help_panel=_SEARCH,
    ),
]
SamplerName = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        help="auto, error_model, local, tpe, cmaes, nsga2 or random. Without it: auto, the one that won our benchmark.",
        rich_help_panel=_SEARCH,
    ),
]
PrunerName = Annotated[
    str | None,
    typer.Option("--pruner", help="wilcoxon or none. Without it: wilcoxon.", rich_help_panel=_SEARCH),
]
WarmStarts = Annotated[
    str | None,
    typer.Option(
        "--warm-starts",
        help="Allocations that are tried first: uniform, equal_error, vbmf, energy, greedy; or none. "
        "Without it: uniform,equal_error.",
        rich_help_panel=_SEARCH,
    ),
]
FromStudy = Annotated[
    list[str] | None,
    typer.Option(
        "--from-study",
        help="An earlier study of the same model to learn from, by id or name; may be repeated.",
        rich_help_panel=_SEARCH,
    ),
]
SearchImagesPair = Annotated[
    str | None,
    typer.Option(
        "--search-images",
        help='Images that a trial calibrates and validates on, as "256,1000" (as without it) or "all".',
        rich_help_panel=_SEARCH,
    ),
]
Finalists = Annotated[
    int | None,
    typer.Option(
        "--finalists",
        help="Best trials that are measured again, on all images. Without it: 5.",
        min=0,
        rich_help_panel=_SEARCH,
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the search.", min=0, rich_help_panel=_SEARCH)]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Of the evaluations.", min=1, rich_help_panel=_SEARCH)
]
NTrials = Annotated[
    int | None,
    typer.Option("--n-trials", help="Rank vectors to try. Without it: 100.", min=1, rich_help_panel=_END),
]
StudyTimeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Seconds after which no new trial starts.", rich_help_panel=_END),
]
Plateau = Annotated[
    int | None,
    typer.Option("--plateau", help="Trials without a better one.", min=1, rich_help_panel=_END),
]
Target = Annotated[
    float | None,
    typer.Option("--target", help="A metric that is good enough: 0.9 of accuracy.", rich_help_panel=_END),
]


def bounds(macs: str | None, params: str | None, latency_ms: str | None) -> dict[str, int | float | str] | None:
    """The upper bounds that were given, numbers as numbers; None without one."""
    given = {"macs": macs, "params": params, "latency_ms": latency_ms}
    return {word: _number(word, bound) for word, bound in given.items() if bound is not None} or None


def words(text: str | None) -> list[str] | None:
    """The words between commas; "none" is an empty list."""
    if text is None:
        return None
    return [] if text.strip() == "none" else [word.strip() for word in text.split(",")]


def images(text: str | None) -> Images | None:
    """``"256,1000"``, ``"256,all"`` or ``"all"`` as how many images a trial uses.

    Raises:
        InputError: it is neither.
    """
    if text is None:
        return None
    numbers = [part.strip() for part in text.split(",")] if text.strip() != "all" else ["all", "all"]
    if len(numbers) != 2 or not all(number.isdecimal() or number == "all" for number in numbers):  # noqa: PLR2004 - to calibrate, to validate
        raise InputError(
            "invalid_request",
            "--search-images cannot be used",
            got=text,
            expected='two numbers, such as "256,1000" to calibrate and to validate; "all" in the place of either',
        )
    calibration, validation = (None if number == "all" else int(number) for number in numbers)
    return {"calibration": calibration, "validation": validation}


def _number(word: str, bound: str) -> int | float | str:
    if bound.isdecimal():
        return int(bound)
    if word == "latency_ms":
        try:
            return float(bound)
        except ValueError:
            return bound
    return bound
