"""How long a call that may be repeated keeps trying, and how it spaces its attempts."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import Final

from ranksearch.contracts.errors import RankSearchError

__all__ = ["RETRIED_STATUSES", "Attempts", "retry_after"]

RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Answers that say "not now"."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class Attempts:
    """The attempts of one call: exponential back-off with full jitter, within a time budget.

    Args:
        patience: seconds from the first failure after which the failure is raised.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.restart()

    def restart(self) -> None:
        """Forget the failures so far: the call made progress."""
        self._failures = 0
        self._deadline: float | None = None

    def pause(self, failure: RankSearchError, *, at_least: float = 0) -> None:
        """Sleep before the next attempt.

        Args:
            failure: what the last attempt ended with; raised when patience is at its end.
            at_least: seconds the service asked us to wait.
        """
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._patience
        ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._failures)
        pause = max(at_least, ceiling * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
        if now + pause > self._deadline:
            raise failure
        self._failures += 1
        time.sleep(pause)


def retry_after(header: str | None) -> float:
    """Seconds a ``Retry-After`` header asks for; 0 without one, or with one that makes no sense."""
    if not header:
        return 0
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0
