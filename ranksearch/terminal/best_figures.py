"""What the best trial so far keeps and costs, against the dense network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ranksearch.contracts.studies import Best, CostShare, Study
from ranksearch.contracts.wording import accuracy, count, metric_value, origin
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.columns import GAP, Column, lines, shortened

__all__ = ["best_figures"]

_IN_WORDS: Final = 2
"""Rows that it takes where there is no room for a table."""
Figure = tuple[str, str, str, str]
"""What it is of, of the best trial, of the dense network, and what to say of the two."""


def best_figures(study: Study, best: Best, width: int) -> Section:
    """A table of figures or, in fewer rows, two lines."""
    figures = _figures(study, best)
    whole = 1 + len(figures)

    def draw(rows: int) -> list[Text]:
        return _table(best, figures, width) if rows >= whole else _words(best, figures, width)

    return Section(_IN_WORDS, whole, draw)


def _figures(study: Study, best: Best) -> list[Figure]:
    figures = [*_quality(study, best), _cost("macs", best.macs), _cost("params", best.params)]
    measured = best.result.latency
    if measured is not None:
        dense = measured.dense_latency_ms
        times = "" if dense is None else f"speedup {dense / measured.latency_ms:.1f}×"
        figures.append(("latency", f"{measured.latency_ms:.3g} ms", "" if dense is None else f"{dense:.3g} ms", times))
    return figures


def _quality(study: Study, best: Best) -> list[Figure]:
    """Its accuracy where there are labels, and the metric that it is judged by."""
    found: list[Figure] = []
    reached = best.result.accuracy
    dense_result = best.dense_result
    if reached is not None:
        dense = (
            best.dense_value if best.metric == "accuracy" else None if dense_result is None else dense_result.accuracy
        )
        allowed = study.request.max_drop if best.metric == "accuracy" else None
        found.append(("accuracy", accuracy(reached), accuracy(dense), _points(reached, dense, allowed)))
    if best.metric != "accuracy":
        dense_value = best.dense_value if best.metric == "loss" else None
        most = study.request.max_drop
        note = "" if most is None else f"at most {most:g} may be lost"
        found.append((best.metric, metric_value(best.metric, best.value), metric_value(best.metric, dense_value), note))
    return found


def _points(reached: float, dense: float | None, allowed: float | None) -> str:
    if dense is None:
        return ""
    points = 100 * (dense - reached)
    change = f"{abs(points):.2f} points {'lost' if points >= 0 else 'gained'}"
    return change if allowed is None else f"{change}, {100 * allowed:.4g} allowed"


def _cost(word: str, share: CostShare) -> Figure:
    note = f"{share.fraction:.1%} remain, {share.compression_ratio:.1f}×"
    return (word, count(share.compressed), count(share.dense), note)


def _title(best: Best, room: int) -> str:
    trial = f"trial {best.trial} ({origin(best.origin)})"
    longer = f"{trial}, on {best.result.images} images"
    return longer if len(longer) <= room else trial


def _table(best: Best, figures: Sequence[Figure], width: int) -> list[Text]:
    words, reached, dense, notes = ([figure[at] for figure in figures] for at in range(4))
    has_ended = best.state in {"completed", "failed", "cancelled"}
    columns = [
        Column("best" if has_ended else "best so far", words),
        Column("compressed", reached, right=True, style="bold green"),
        Column("dense", dense, right=True),
    ]
    room = width - sum(column.width + GAP for column in columns)
    return lines([*columns, Column(_title(best, room), notes, least=10)], width)


def _words(best: Best, figures: Sequence[Figure], width: int) -> list[Text]:
    """What it keeps, and what it costs."""
    costs = {"macs": best.macs, "params": best.params}
    judged = [
        f"{word} {value}" + (f" ({note})" if note else "") for word, value, _, note in figures if word not in costs
    ]
    left = [f"{share.fraction:.1%} of the {word}" for word, share in costs.items()]
    told = {"best": [*judged, f"trial {best.trial} ({origin(best.origin)})"], "keeps": left}
    made = []
    for heading, words in told.items():
        line = Text(f"{heading:<7}", style="bold")
        line.append(shortened(", ".join(words), width - 7), "not bold")
        made.append(line)
    return made
