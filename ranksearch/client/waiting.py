"""Waiting for something on the service to come to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from ranksearch.contracts.errors import UnavailableError

__all__ = ["until"]

Thing = TypeVar("Thing")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_GROWTH: Final = 1.5


def until(
    fetch: Callable[[], Thing],
    done: Callable[[Thing], bool],
    *,
    what: str,
    why_not: Callable[[Thing], str | None],
    timeout: float | None,
    seen: Callable[[Thing], object] | None = None,
) -> Thing:
    """Fetch until done; the pauses grow from a tenth of a second to two.

    Args:
        fetch: asks the service.
        done: whether this is the end.
        what: it is waited for, in words.
        why_not: what the service says it is waiting for itself.
        timeout: seconds; None: without end.
        seen: is shown every answer.

    Raises:
        UnavailableError: ``wait_timeout``.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        thing = fetch()
        if seen is not None:
            seen(thing)
        if done(thing):
            return thing
        left = _LONGEST_PAUSE if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise UnavailableError(
                "wait_timeout",
                f"{what} took longer than the {timeout:g} s it was waited for",
                got=why_not(thing),
                mend="it goes on by itself: wait again, or longer",
            )
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)
