"""Which workers are on a study right now, with what and since when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ranksearch.contracts.resources import Worker
from ranksearch.terminal.allotment import Section
from ranksearch.terminal.columns import Column, lines, shortened
from ranksearch.terminal.output import printable
from ranksearch.terminal.tables import ago

__all__ = ["at_work"]

_TASKS: Final = {
    "baseline": "the dense network",
    "sensitivity": "each layer alone",
    "compress": "the compressed network",
    "latency": "the latency of trial {}",
    "final": "all images, trial {}",
    "trial": "trial {}",
}


def at_work(workers: Sequence[Worker], width: int) -> Section:
    """One line a worker, whoever is at it for longest first; in one line, how many there are."""
    ordered = sorted(workers, key=lambda worker: (worker.since is None, worker.since, worker.id))

    def draw(rows: int) -> list[Text]:
        if rows > len(ordered):
            return _table(ordered, width)
        made = _table(ordered[: rows - 2], width) if rows > 2 else []  # noqa: PLR2004 - a heading and one worker
        left = len(ordered) - max(0, rows - 2)
        names = f"{left} more" if made else ", ".join(f"{worker.name} {_task(worker)}" for worker in ordered)
        made.append(Text(shortened(printable(f"at work: {names}"), width)))
        return made

    return Section(1, 1 + len(ordered), draw)


def _table(workers: Sequence[Worker], width: int) -> list[Text]:
    columns = [
        Column("worker", [printable(worker.name) for worker in workers], least=10),
        Column("on", [_task(worker) for worker in workers]),
        Column("began", ["" if worker.since is None else ago(worker.since) for worker in workers]),
        Column("device", [printable(worker.device) for worker in workers], least=8),
    ]
    return lines(columns, width)


def _task(worker: Worker) -> str:
    words = _TASKS.get(worker.task or "", worker.task or "a job")
    return words.format("" if worker.trial is None else worker.trial).rstrip()
