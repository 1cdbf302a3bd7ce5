"""Functions at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from threading import Barrier
from typing import Any

__all__ = ["in_processes"]

_START_SECONDS = 60
_started: Barrier


def in_processes(calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
    """What the calls return, in their order. None begins before all processes are there; what one raises is raised.

    Args:
        calls: functions of modules, and their arguments.
    """
    # Forked of a server that has no threads, unlike this process, and has imported what is dear to import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({function.__module__ for function, _ in calls}))
    barrier = context.Barrier(len(calls))
    with ProcessPoolExecutor(len(calls), context, _remember, (barrier,)) as processes:
        results = [processes.submit(_called, function, *arguments) for function, arguments in calls]
        return [result.result() for result in results]


def _remember(started: Barrier) -> None:
    global _started  # noqa: PLW0603 - a barrier reaches a process at its start only
    _started = started


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    _started.wait(_START_SECONDS)
    return function(*arguments)
