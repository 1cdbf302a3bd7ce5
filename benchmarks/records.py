"""What was computed so far, a line each, and the queue of what is still to be computed.

A long benchmark is made of pieces of work in order of importance. Each is recorded as soon as it is done, so a run that
was cut short goes on where it stopped, and a page is written from the records alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import torch
from page import device_option, machine

from worker.allocator import keep_freed_memory

__all__ = ["Piece", "Records", "queue_options", "work_off"]

Piece: TypeAlias = dict[str, Any]
"""A piece of work: what it is called and its parameters, all JSON."""

_FIRST = "AMD EPYC, 2 cores, 24 GiB, no accelerator used, torch 2.14, which did other work as well"
"""Where those were done that do not say so."""


class Records:
    """JSON lines ``{"piece": …, "found": …}``.

    Args:
        path: the file; made when something is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, piece: Piece) -> Any:  # noqa: ANN401 - whatever JSON was recorded
        """What was found; None where this piece was not done. Of several records the last."""
        found = None
        for known, value in self:
            if known == piece:
                found = value
        return found

    def of(self, pieces: Sequence[Piece]) -> list[tuple[Piece, Any]]:
        """Those of these pieces that were done, each once."""
        last = {str(piece): (piece, found) for piece, found in self}
        return [last[str(piece)] for piece in pieces if str(piece) in last]

    def add(self, piece: Piece, found: object, on: str | None = None) -> None:
        """Record a piece, and the machine that did it."""
        record = {"piece": piece, "found": found} | ({} if on is None else {"on": on})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def __iter__(self) -> Iterator[tuple[Piece, Any]]:
        """All pieces with what was found, in the order in which they were done."""
        for record in self._read():
            yield record["piece"], record["found"]

    def conditions(self, pieces: Sequence[Piece]) -> str:
        """Where these pieces were done, as a page tells it."""
        last = {str(record["piece"]): record.get("on", _FIRST) for record in self._read()}
        machines = Counter(last[str(piece)] for piece in pieces if str(piece) in last)
        told = "; ".join(f"{count} of the pieces on {machine}" for machine, count in machines.most_common())
        return f"Run without `--page-only`, in processes of one thread each: {told}. All is under [data](data)."

    def _read(self) -> Iterator[dict[str, Any]]:
        if self.path.is_file():
            yield from map(json.loads, self.path.read_text().splitlines())


def queue_options(parser: argparse.ArgumentParser, records: Path) -> None:
    """Adds what a benchmark of many pieces takes."""
    parser.add_argument("--processes", type=int, default=2, help="one thread each (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so long")
    device_option(parser)
    parser.add_argument("--again", action="store_true", help="compute what is recorded once more; the last counts")
    parser.add_argument("--page-only", action="store_true", help="write the page from what is recorded")
    parser.add_argument("--records", type=Path, default=records, help="where results are kept (default: %(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path(".ranksearch/benchmarks"), help="keeps factors (default: %(default)s)"
    )


def work_off(
    pieces: Sequence[Piece],
    perform: Callable[[Mapping[str, Any], Piece], Any],
    records: Records,
    chosen: argparse.Namespace,
) -> None:
    """Do what is not recorded yet, in this order, in processes of one thread each.

    Args:
        pieces: the most important first.
        perform: called in another process with the chosen options and a piece; None means that it needs a piece
            that is not there yet: it is tried again, at the end, once another one is done.
        records: where results go.
        chosen: the options; ``minutes`` after the call nothing new is begun.
    """
    deadline = time.monotonic() + 60 * chosen.minutes
    options, on = vars(chosen), f"{machine(chosen.device)}, torch {torch.__version__}"
    waiting = list(pieces)
    running: dict[Future[Any], Piece] = {}
    stalled: list[Piece] = []
    with ProcessPoolExecutor(chosen.processes, get_context("spawn"), initializer=_alone) as pool:
        while waiting or running:
            while waiting and len(running) < chosen.processes and time.monotonic() < deadline:
                piece = waiting.pop(0)
                if chosen.again or records.get(piece) is None:
                    running[pool.submit(perform, options, piece)] = piece
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                piece, found = running.pop(future), future.result()
                print(time.strftime("%H:%M:%S"), "done" if found is not None else "not ready", piece, flush=True)
                if found is None:
                    stalled.append(piece)
                    continue
                records.add(piece, found, on)
                waiting += stalled  # perhaps for this one
                stalled.clear()


def _alone() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
