"""What a latency report comes to, in words: faster by how much and run by what, or fewer macs and nothing gained.

What counts is the fastest way of running either network, since nobody runs the dense one in a slow way: a compressed
network that gains with one runtime alone, and loses to the dense one in another, is not faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ranksearch.contracts.latency import (
    ALIKE_WITHIN,
    LatencyReport,
    LatencyRow,
    LatencyRuntime,
    Measured,
    Speed,
)
from ranksearch.contracts.studies import CostShare

__all__ = ["RUNTIME_WORDS", "Standing", "layers_better_dense", "runtime_words", "standings", "verdict"]

_NAMED: Final = 6
"""Layers that a verdict names; the report has them all."""
RUNTIME_WORDS: Final[dict[LatencyRuntime, str]] = {
    "torch": "torch",
    "torch_compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
}


@dataclass(frozen=True)
class Standing:
    """How both networks stand at one batch size and dtype on one device, each run in its fastest way.

    Args:
        dense: the row in which the dense network is fastest.
        compressed: the row in which the compressed one is.
    """

    dense: LatencyRow
    compressed: LatencyRow

    @property
    def times(self) -> tuple[float, float]:
        """Milliseconds, dense and compressed."""
        return _measured(self.dense).dense.median_ms, _measured(self.compressed).compressed.median_ms

    @property
    def speedup(self) -> float:
        """The fastest dense time over the fastest compressed one."""
        if self.dense is self.compressed:
            return _measured(self.dense).speedup
        dense, compressed = self.times
        return dense / compressed

    @property
    def speed(self) -> Speed:
        """Of the compressed network. Rows that were not timed in turns have to lie apart by their quartiles."""
        if self.dense is self.compressed:
            return _measured(self.dense).speed
        spread = (_measured(self.dense).dense.iqr_ms + _measured(self.compressed).compressed.iqr_ms) / 2
        dense, compressed = self.times
        if abs(dense - compressed) <= spread or abs(self.speedup - 1) <= ALIKE_WITHIN:
            return "alike"
        return "faster" if compressed < dense else "slower"


def standings(rows: Sequence[LatencyRow]) -> list[Standing]:
    """One for each device, dtype and batch size at which anything was measured, in the order of the rows."""
    measured = [row for row in rows if row.measured is not None]
    conditions = dict.fromkeys(_condition(row) for row in measured)
    found = []
    for condition in conditions:
        alike = [row for row in measured if _condition(row) == condition]
        dense = min(alike, key=lambda row: _measured(row).dense.median_ms)
        found.append(Standing(dense, min(alike, key=lambda row: _measured(row).compressed.median_ms)))
    return found


def layers_better_dense(report: LatencyReport) -> list[str]:
    """Factorised layers that are faster at none of the batch sizes, in forward order."""
    return [layer.name for layer in report.layers if layer.leave_dense]


def verdict(report: LatencyReport, macs: CostShare | None = None) -> str:
    """The whole report in some sentences.

    Args:
        report: what was measured.
        macs: of the compressed network, beside which the speed is told.
    """
    found = standings(report.rows)
    if not found:
        return "Nothing could be measured: every row says why."
    return " ".join([*_whole(found, macs), *_layers(report, macs)])


def runtime_words(row: LatencyRow) -> str:
    """How a row was run: "torch, channels_last"."""
    told = RUNTIME_WORDS[row.runtime]
    return told if row.runtime == "onnxruntime" else f"{told}, {row.layout}"


def _whole(found: Sequence[Standing], macs: CostShare | None) -> Iterator[str]:
    faster = [one for one in found if one.speed == "faster"]
    fewer = "" if macs is None else f" ({macs.fraction:.0%} of the macs remain)"
    if not faster:
        yield f"Fewer MACs but not faster here{fewer}:"
    elif len(faster) == len(found):
        yield f"Faster{fewer}:"
    else:
        yield f"Faster in {len(faster)} of {len(found)} settings{fewer}:"
    several = len({(one.dense.device, one.dense.dtype) for one in found}) > 1
    yield "; ".join(_told(one, several=several) for one in found) + "."


def _told(one: Standing, *, several: bool) -> str:
    """One setting: "1.50× as fast at batch 1 (torch, contiguous: 3 → 2 ms)"."""
    dense, compressed = one.times
    if one.dense.runtime == one.compressed.runtime and one.dense.layout == one.compressed.layout:
        how = f"{runtime_words(one.compressed)}: {dense:.3g} → {compressed:.3g} ms"
    else:
        how = f"{runtime_words(one.dense)} {dense:.3g} ms → {runtime_words(one.compressed)} {compressed:.3g} ms"
    where = f"at batch {one.dense.batch}" + (f" on {one.dense.device} in {one.dense.dtype}" if several else "")
    if one.speed == "faster":
        return f"{one.speedup:.2f}× as fast {where} ({how})"
    word = "slower" if one.speed == "slower" else "within the noise"
    return f"{word} {where}, {one.speedup:.2f}× ({how})"


def _layers(report: LatencyReport, macs: CostShare | None) -> Iterator[str]:
    better = layers_better_dense(report)
    if not better:
        if report.layers:
            yield "Every factorised layer is faster than the dense one at some batch size."
        return
    if len(better) == len(report.layers):
        yield f"None of the {len(better)} factorised layers is faster than the dense one: leave them dense here."
        return
    named = ", ".join(better[:_NAMED]) + (f" and {len(better) - _NAMED} more" if len(better) > _NAMED else "")
    whole = _macs_with_those_dense(report, macs)
    yield f"Better left dense on this device, {len(better)} of {len(report.layers)} factorised layers: {named}{whole}."


def _macs_with_those_dense(report: LatencyReport, macs: CostShare | None) -> str:
    """What it would cost: "; then 41% of the macs remain"."""
    if macs is None or not macs.dense:
        return ""
    back = sum(layer.dense_macs * (1 - layer.macs_fraction) for layer in report.layers if layer.leave_dense)
    return f"; then {(macs.compressed + back) / macs.dense:.0%} of the macs remain"


def _condition(row: LatencyRow) -> tuple[str, str, int]:
    return row.device, row.dtype, row.batch


def _measured(row: LatencyRow) -> Measured:
    assert row.measured is not None  # noqa: S101 - rows that were not measured stand nowhere
    return row.measured
