"""A latency report as people read it: every way of running both networks, layer by layer, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from ranksearch.contracts.latency import LatencyReport, LatencyRow, LayerLatency, Measured, Speed, Timing
from ranksearch.contracts.latency_verdicts import RUNTIME_WORDS
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.terminal.output import printable, table

__all__ = ["latency_table", "layer_latencies_table"]

_STYLES: Final[dict[Speed, str]] = {"faster": "green", "slower": "red", "alike": ""}


def latency_table(report: LatencyReport) -> Table:
    """One line a way of running them; below, under which conditions, and why some were not measured."""
    several = len({(row.device, row.dtype) for row in report.rows}) > 1
    where = ["on", "dtype"] if several else []
    made = table(
        *("runtime", "layout", *where, "batch", "dense", "compressed", "speedup", ""),
        numbers=["batch", "dense", "compressed", "speedup"],
    )
    reasons: dict[str, int] = {}
    for row in report.rows:
        conditions = [printable(row.device), printable(row.dtype)] if several else []
        begins = [RUNTIME_WORDS[row.runtime], row.layout, *conditions, str(row.batch)]
        if row.measured is None:
            number = reasons.setdefault(row.why_not or "no reason given", len(reasons) + 1)
            made.add_row(*begins, "", "", "", f"not measured ({number})")
        else:
            made.add_row(*begins, *_figures(row.measured), _speed(row.measured.speed))
    made.caption = Text(printable("\n".join([*_conditions(report), *(f"({at}) {why}" for why, at in reasons.items())])))
    made.caption_justify = "left"
    return made


def layer_latencies_table(report: LatencyReport) -> Table:
    """One line a factorised layer: the part of the macs that remains, and of the time, at each batch size."""
    batches = [time.batch for time in report.layers[0].times] if report.layers else []
    columns = [f"time, batch {batch}" for batch in batches]
    made = table("layer", "ranks", "macs", *columns, "", numbers=["macs", *columns])
    for layer in report.layers:
        made.add_row(
            printable(layer.name),
            _ranks(layer.choice),
            f"{layer.macs_fraction:.0%}",
            *_fractions(layer),
            Text("leave dense", style="red") if layer.leave_dense else "",
        )
    made.caption = Text(
        f"of the dense layer's; alone, {report.layer_dtype}, {report.layer_layout}; ≈: not told apart from it"
    )
    made.caption_justify = "left"
    return made


def _figures(measured: Measured) -> Iterable[str]:
    yield from (_time(measured.dense), _time(measured.compressed))
    interval = ""
    if measured.speedup_low is not None and measured.speedup_high is not None:
        interval = f" ({measured.speedup_low:.2f}–{measured.speedup_high:.2f})"
    yield f"{measured.speedup:.2f}×{interval}"


def _time(timing: Timing) -> str:
    return f"{timing.median_ms:.3g} ± {timing.iqr_ms / 2:.2g}"


def _speed(speed: Speed) -> Text:
    return Text("within the noise" if speed == "alike" else speed, style=_STYLES[speed])


def _fractions(layer: LayerLatency) -> Iterable[Text]:
    for time in layer.times:
        speed = time.measured.speed
        yield Text(f"{'≈ ' if speed == 'alike' else ''}{time.time_fraction:.0%}", style=_STYLES[speed])


def _conditions(report: LatencyReport) -> Iterable[str]:
    row = _first(report.rows)
    how = "" if row is None else f"{row.device}, {row.dtype}, "
    several = len({(row.device, row.dtype) for row in report.rows}) > 1
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"{'' if several else how}{report.threads} CPU thread{'' if report.threads == 1 else 's'}, {versions}"
    yield "ms a pass: median over rounds ± half the interquartile range; speedup: median, 95 % interval"
    if report.load is not None:
        of = "" if report.cores is None else f" on {report.cores} cores"
        yield f"load of the machine before: {report.load:.1f}{of}"


def _first(rows: list[LatencyRow]) -> LatencyRow | None:
    return next((row for row in rows if row.measured is not None), None)


def _ranks(choice: LayerRanks) -> str:
    if choice.ranks is None:
        return f"{choice.method} {choice.rank or ''}".rstrip()
    ranks = choice.ranks.model_dump(by_alias=True, exclude_none=True)
    return f"{choice.method} {', '.join(f'{axis} {rank}' for axis, rank in ranks.items())}"
