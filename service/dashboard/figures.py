"""Numbers, amounts and times as pages show them. What there is none of is a dash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from ranksearch.contracts import latency_verdicts, wording
from ranksearch.contracts.artifacts import ArtifactFormat
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.studies import Trial

__all__ = ["FILTERS", "duration", "percent", "size", "utc"]

_NONE: Final = "–"
_FORMATS: Final[Mapping[ArtifactFormat, str]] = {
    "document": "model document",
    "pt2": "torch program (.pt2)",
    "onnx": "ONNX",
}
_COMMAND: Final = re.compile("`([^`]+)`")


def count(number: float | None) -> str:
    """1,814,073,344 → "1.81 G"."""
    return _NONE if number is None else wording.count(number)


def percent(share: float | None, digits: int = 0) -> str:
    """0.331 → "33%"."""
    return _NONE if share is None else f"{share:.{digits}%}"


def metric_value(value: float | None, metric: Metric) -> str:
    """A value of the metric: accuracy in per cent, everything else with three digits."""
    return _NONE if value is None else wording.metric_value(metric, value)


def size(amount: int | None) -> str:
    """Bytes: 3,221,225,472 → "3.0 GiB"."""
    if amount is None:
        return _NONE
    power = min(4, max(0, (amount.bit_length() - 1) // 10))
    return f"{amount} B" if power == 0 else f"{amount / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def duration(seconds: float | None) -> str:
    """In its two largest units: 8,040 → "2 h 14 min"; below ten seconds with a digit more."""
    return _NONE if seconds is None else wording.duration(seconds)


def utc(moment: datetime) -> str:
    """A time as it stands in a log."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def code_spans(text: str) -> Markup:
    """A message whose `commands` stand between backticks, as HTML; everything in it is escaped."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(_COMMAND.split(text))
    )


def parts_of_time(trial: Trial) -> str:
    """Where a trial's time went on its worker: "validation 0.7 s, decomposition 0.4 s", the longest first."""
    if trial.result is None:
        return _NONE
    parts = {name: spent for name, spent in trial.result.seconds.model_dump().items() if name != "total" and spent > 0}
    longest = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {duration(spent)}" for name, spent in longest) or duration(trial.result.seconds.total)


def ranks_text(choice: Mapping[str, Any]) -> str:
    """A layer's choice: "cp3, rank 48", "tucker2, out 32, in 24", "dense"."""
    if "rank" in choice:
        return f"{choice['method']}, rank {choice['rank']}"
    return ", ".join([str(choice["method"]), *(f"{name} {rank}" for name, rank in choice.get("ranks", {}).items())])


def ranks_of(choice: LayerRanks) -> str:
    """A layer's method and ranks, of the wire's shape."""
    return ranks_text(choice.model_dump(by_alias=True, exclude_none=True))


def parameters(given: Mapping[str, Any]) -> str:
    """What follows the question mark of an address; what is None is left out."""
    return urlencode({name: value for name, value in given.items() if value is not None})


def iso(moment: datetime) -> str:
    """A time as programs read it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def file_format(made: ArtifactFormat) -> str:
    """As people know it: "torch program (.pt2)"."""
    return _FORMATS[made]


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "count": count,
    "percent": percent,
    "metric_value": metric_value,
    "bytes": size,
    "duration": duration,
    "utc": utc,
    "iso": iso,
    "origin": wording.origin,
    "parity": wording.parity,
    "file_format": file_format,
    "parameters": parameters,
    "parts_of_time": parts_of_time,
    "ranks_of": ranks_of,
    "ranks_text": ranks_text,
    "runtime": latency_verdicts.runtime_words,
    "code_spans": code_spans,
}
"""What templates use them as. ``count`` takes the place of Jinja's, which is another word for ``length``."""
