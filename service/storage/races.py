"""What two processes may get into each other's way with, on a database that they share."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError

__all__ = ["again_when_raced"]

log = logging.getLogger(__name__)

Taken = ParamSpec("Taken")
Given = TypeVar("Given")

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.02
_LOST_RACES = {
    "23505": "another process inserted the same",
    "40001": "another process changed what this one read",
    "40P01": "a deadlock with another process",
}
"""PostgreSQL's SQLSTATE; SQLite's writers come one after another and know none of these."""


def again_when_raced(use_case: Callable[Taken, Given]) -> Callable[Taken, Given]:
    """Have ``use_case`` start anew, a few times, where its transaction lost a race.

    Such a transaction changed nothing, and the next one sees what the winner did; so an insertion that came second
    finds the row and answers with it. All that the use case does outside of it must bear repetition.
    """

    @functools.wraps(use_case)
    def tried(*args: Taken.args, **kwargs: Taken.kwargs) -> Given:
        for attempt in range(1, _ATTEMPTS):
            try:
                return use_case(*args, **kwargs)
            except DBAPIError as problem:
                lost = _LOST_RACES.get(getattr(problem.orig, "sqlstate", None) or "")
                if lost is None:
                    raise
                log.info("%s is done again: %s", use_case.__name__, lost)
            time.sleep(random.uniform(0, attempt * _PAUSE_SECONDS))  # noqa: S311 - so that two do not meet again
        return use_case(*args, **kwargs)

    return tried
