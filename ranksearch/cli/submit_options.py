"""What ``submit`` can be told: its options, by what they decide, and what is made of their words."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import typer

from ranksearch.client.goals import Images
from ranksearch.contracts.defaults import DEFAULT_BUDGET
from ranksearch.contracts.errors import InputError

__all__ = [
    "BOUNDS",
    "BatchSize",
    "Finalists",
    "FineTuneTop",
    "FromStudy",
    "KeepDense",
    "LatencyMs",
    "LevelName",
    "Macs",
    "MaxDrop",
    "MaxParallel",
    "Methods",
    "MetricName",
    "NTrials",
    "Objectives",
    "Params",
    "Plateau",
    "Priority",
    "PrunerName",
    "Require",
    "SamplerName",
    "SearchImagesPair",
    "Seed",
    "StudyTimeout",
    "Target",
    "WarmStarts",
    "bounds",
    "images",
    "requirements",
    "words",
]

BOUNDS: Final = ("macs", "params", "latency_ms")

_GOAL: Final = "What to search for"
_SEARCH: Final = "How to search"
_END: Final = "When to stop"
_QUEUE: Final = "Beside others"
_UNITS: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "kB": 10**3, "MB": 10**6, "GB": 10**9}

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
        "loss; a share of their variance for outputs. Without --objectives: the fewest macs.",
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
        help="kl, accuracy, loss, outputs or features. Without it: kl, and with --max-drop accuracy where there are "
        "labels; for networks that are no classifiers outputs.",
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
        "Without it: uniform,equal_error,greedy.",
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
FineTuneTop = Annotated[
    int | None,
    typer.Option(
        "--finetune",
        help="So many of the best trials are fine-tuned at the end, and the best one is chosen anew.",
        min=1,
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
Priority = Annotated[
    int | None,
    typer.Option("--priority", help="Among your own studies, -100 to 100: larger goes first.", rich_help_panel=_QUEUE),
]
MaxParallel = Annotated[
    int | None,
    typer.Option("--max-parallel", help="Trials that run at once, at most.", min=1, rich_help_panel=_QUEUE),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        help="What a worker must have: device=cuda, memory=16GiB, or a label, such as site=berlin; may be repeated.",
        rich_help_panel=_QUEUE,
    ),
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


def requirements(wanted: list[str] | None) -> dict[str, Any] | None:
    """``["device=cuda", "memory=16GiB", "site=berlin"]`` as what a worker must have; None without any.

    Raises:
        InputError: one is no ``NAME=VALUE``, named twice, or an amount of memory that is none.
    """
    if not wanted:
        return None
    pairs = [requirement.partition("=") for requirement in wanted]
    given = {name.strip(): value.strip() for name, _, value in pairs}
    if len(given) < len(pairs) or not all(name.strip() and value.strip() for name, _, value in pairs):
        raise InputError(
            "invalid_request",
            "--require cannot be used",
            got=", ".join(wanted),
            expected="NAME=VALUE, each name once, such as device=cuda, memory=16GiB or site=berlin",
        )
    named: dict[str, Any] = {"labels": {name: given[name] for name in given if name not in {"device", "memory"}}}
    if "device" in given:
        named["device"] = given["device"]
    if "memory" in given:
        named["memory_bytes"] = _bytes(given["memory"])
    return named


def _bytes(amount: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", amount)
    unit = None if found is None else 1 if found[2] in {"", "B"} else _UNITS.get(found[2])
    if found is None or unit is None:
        raise InputError(
            "invalid_request",
            "--require memory cannot be used",
            got=amount,
            expected=f"a number of bytes, or with one of {', '.join(_UNITS)}, such as 16GiB",
        )
    return int(float(found[1]) * unit)


def _number(word: str, bound: str) -> int | float | str:
    if bound.isdecimal():
        return int(bound)
    if word == "latency_ms":
        try:
            return float(bound)
        except ValueError:
            return bound
    return bound
