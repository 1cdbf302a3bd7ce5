"""What the workers told of themselves lately, so that a claim that says nothing new costs no write."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from ranksearch.contracts.jobs import ClaimRequest

__all__ = ["Sightings"]

_MOST = 10_000


class Sightings:
    """Remembers, for each worker, what this process wrote down last, and when. Safe to use from several threads.

    Args:
        seconds: after which a worker that says the same again is written down again: it is still there.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: OrderedDict[str, tuple[ClaimRequest, float]] = OrderedDict()
        self._lock = threading.Lock()

    def is_news(self, request: ClaimRequest) -> bool:
        """Whether this is to be written down. The same request is no news again until ``seconds`` later."""
        said, at = request.model_copy(update={"wait_seconds": 0.0}), time.monotonic()
        with self._lock:
            known = self._known.get(request.worker)
            if known is not None and known[0] == said and at - known[1] < self._seconds:
                return False
            self._known[request.worker] = said, at
            self._known.move_to_end(request.worker)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            return True

    def forget(self, worker: str) -> None:
        """What it says next is news, whatever it is."""
        with self._lock:
            self._known.pop(worker, None)
