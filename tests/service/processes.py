"""Functions at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from threading import Barrier
from typing import Any

__all__ = ["Call", "in_processes"]

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A module's function, and its arguments."""

_SECONDS = 120
_started: Barrier


def in_processes(calls: Sequence[Call]) -> list[Any]:
    """What the calls return, in their order. None begins before all processes are there.

    What one of them raises is raised at once, and ends the others.
    """
    # Forked of a server that has no threads, unlike this process, and has imported what is dear to import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({function.__module__ for function, _ in calls}))
    barrier = context.Barrier(len(calls))
    with context.Pool(len(calls), _remember, (barrier,)) as processes:
        coming = processes.imap_unordered(_called, enumerate(calls))
        returned = dict(coming.next(_SECONDS) for _ in calls)
    return [returned[number] for number in range(len(calls))]


def _remember(started: Barrier) -> None:
    global _started  # noqa: PLW0603 - a barrier reaches a process at its start only
    _started = started


def _called(numbered: tuple[int, Call]) -> tuple[int, Any]:
    number, (function, arguments) = numbered
    _started.wait(_SECONDS)
    return number, function(*arguments)
