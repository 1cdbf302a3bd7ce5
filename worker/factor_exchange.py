"""The agents' side of the fleet's factor cache: fetches what a child lacks, gives others what it has used.

The child has no token and no network, so it says which keys it wants, and finds the files in its factor cache.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from ranksearch.contracts.errors import NotFoundError, RankSearchError
from worker.factor_files import factor_path

__all__ = ["FactorExchange", "FactorsApi"]

log = logging.getLogger(__name__)

_AT_ONCE = 8
_FETCH_SECONDS = 10.0
_QUIET_SECONDS = 60.0
_WAITING = 1000
_KNOWN = 100_000
_LARGEST = 1 << 30


class FactorsApi(Protocol):
    """What this module needs of ``client.factors``."""

    def download(self, key: str, path: Path, *, patience: float | None = None) -> Path:
        """Put the factors under a key at ``path`` in one step.

        Raises:
            NotFoundError: nobody has computed them yet.
        """

    def upload(self, key: str, path: Path, *, patience: float | None = None) -> object:
        """Give factors to the fleet; where it has some under this key already, those stay."""


class FactorExchange:
    """Shared by all agents of a machine, as their directory is. Safe to use from several threads.

    None of it may cost a trial: a service that is away, slow or full leaves the factors to be computed here.

    Args:
        factors: the fleet's.
        directory: of the factor cache.
        clock: monotonic seconds.
    """

    def __init__(self, factors: FactorsApi, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._factors = factors
        self._directory = directory
        self._clock = clock
        self._quiet_until = float("-inf")
        self._common: OrderedDict[str, None] = OrderedDict()  # keys that the service has, as far as is known here
        self._lock = threading.Lock()
        self._offers: queue.Queue[str] = queue.Queue(_WAITING)
        self._fetching = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="factors")
        threading.Thread(target=self._give, name="factors-out", daemon=True).start()

    def fetch(self, keys: Sequence[str]) -> int:
        """Put those factors of these keys into the directory that others have; how many that were.

        Returns after some seconds whatever is missing then: it is computed meanwhile.
        """
        if self._clock() < self._quiet_until:
            return 0
        asked = [self._fetching.submit(self._fetch, key) for key in keys]
        done, late = wait(asked, timeout=_FETCH_SECONDS)
        for each in late:
            each.cancel()
        return sum(_got(each) for each in done)

    def offer(self, keys: Iterable[str]) -> None:
        """Give the fleet what it has not, in the background. What is too much at once waits until it is used again."""
        for key in keys:
            if not self._is_common(key):
                try:
                    self._offers.put_nowait(key)
                except queue.Full:
                    return

    def flush(self) -> None:
        """Wait until what was offered has been given, or given up."""
        self._offers.join()

    def _fetch(self, key: str) -> bool:
        if self._clock() < self._quiet_until:
            return False
        path = factor_path(self._directory, key)
        if path.parent.is_symlink():  # of the child's making: it must not have files written elsewhere
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._factors.download(key, path, patience=0)
        except NotFoundError:
            return False
        except (RankSearchError, OSError) as error:
            self._keep_quiet("fetched", error)
            return False
        self._note_common(key)
        return True

    def _give(self) -> None:
        while True:
            key = self._offers.get()
            try:
                if self._clock() >= self._quiet_until and not self._is_common(key):
                    self._upload(key)
            except (RankSearchError, OSError) as error:
                self._keep_quiet("given", error)
            except Exception:
                log.exception("factors could not be given to the fleet")
            finally:
                self._offers.task_done()

    def _upload(self, key: str) -> None:
        """Upload a copy that the child cannot change, of a file that is one: it must not have others' files sent."""
        path = factor_path(self._directory, key)
        if path.parent.is_symlink() or path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            return
        with tempfile.TemporaryDirectory(prefix="ranksearch-factors-") as folder:
            copy = Path(folder, key)
            shutil.copyfile(path, copy, follow_symlinks=False)
            if not copy.is_symlink():
                self._factors.upload(key, copy, patience=0)
        self._note_common(key)

    def _keep_quiet(self, what: str, error: Exception) -> None:
        self._quiet_until = self._clock() + _QUIET_SECONDS
        log.warning("no factors are %s for %g s: %s", what, _QUIET_SECONDS, getattr(error, "detail", error))

    def _is_common(self, key: str) -> bool:
        with self._lock:
            return key in self._common

    def _note_common(self, key: str) -> None:
        with self._lock:
            self._common[key] = None
            while len(self._common) > _KNOWN:
                self._common.popitem(last=False)


def _got(fetched: Future[bool]) -> bool:
    return fetched.exception() is None and fetched.result()
