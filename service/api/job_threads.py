"""The threads in which workers' requests meet the database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

__all__ = ["JobThreads"]

Taken = ParamSpec("Taken")
Given = TypeVar("Given")


class JobThreads:
    """A bounded number of threads; who finds none free waits for one, in the order in which they came.

    They are apart from those of all other requests, so that workers do not wait for a slow upload, and few: on SQLite
    there is one writer at a time, and several threads of one Python process that take turns after each statement get
    less done together than one of them alone.

    Args:
        count: of the threads. To be made in the event loop that uses it.
    """

    def __init__(self, count: int) -> None:
        self._limiter = CapacityLimiter(count)

    async def run(self, use_case: Callable[Taken, Given], *args: Taken.args, **options: Taken.kwargs) -> Given:
        """What the use case returns, or raises."""
        return await to_thread.run_sync(partial(use_case, *args, **options), limiter=self._limiter)
