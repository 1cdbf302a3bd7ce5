"""Factors of layers, kept on disk under a hash of all that determines them, with the most recent ones in memory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from proxy import Factors, ProxyError
from worker.factor_files import factor_path
from worker.protocol import MOST_FACTORS
from worker.trimming import PART, touch

__all__ = ["DiskCache"]

log = logging.getLogger(__name__)


class DiskCache:
    """A cache for :func:`proxy.compress`, shared by every process that is given the same directory.

    One file a key, written aside and renamed, so that a reader never sees half a file and two writers of one key
    leave one whole file: a key determines its factors. A file that cannot be read counts as absent.

    Args:
        directory: made when first needed.
        device: where the factors are wanted.
        memory: bytes of factors kept in memory, the least recently used ones dropped first.

    Attributes:
        fetch: puts those factors of these keys into the directory that others have.
    """

    def __init__(self, directory: Path, *, device: torch.device, memory: int = 1 << 30) -> None:
        self._directory = directory
        self._device = device
        self._memory = memory
        self._recent: OrderedDict[str, Factors] = OrderedDict()
        self._held = 0
        self.fetch: Callable[[Sequence[str]], None] | None = None

    def fetch_missing(self, keys: Iterable[str]) -> None:
        """Look elsewhere, at once, for what is neither in memory nor on disk."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._recent and not self._path(key).is_file()]
        if missing and self.fetch is not None:
            self.fetch(missing[:MOST_FACTORS])

    def get(self, key: str) -> Factors | None:
        """The factors under this key, or None."""
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        factors = self._read(key)
        if factors is not None:
            self._keep(key, factors)
        return factors

    def put(self, key: str, factors: Factors) -> None:
        """Keep the factors under this key, in memory and on disk.

        A disk without room costs the next process a decomposition, not this one its trial.
        """
        self._keep(key, factors)
        try:
            self._write(self._path(key), factors)
        except OSError as error:
            log.warning("could not write to the factor cache: %s", error)

    def _path(self, key: str) -> Path:
        return factor_path(self._directory, key)

    def _read(self, key: str) -> Factors | None:
        path = self._path(key)
        if not path.is_file():
            return None
        touch(path)
        try:
            with safe_open(str(path), framework="pt", device=str(self._device)) as file:
                names = sorted(file.keys())
                record = json.loads((file.metadata() or {})["record"])
                return Factors.restore({name: file.get_tensor(name) for name in names}, record)
        except (OSError, SafetensorError, KeyError, ValueError, ProxyError) as error:
            log.warning("a file of the factor cache cannot be used and is ignored: %s: %s", path, error)
            return None

    @staticmethod
    def _write(path: Path, factors: Factors) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in factors.tensors.items()}
        handle, aside = tempfile.mkstemp(dir=path.parent, suffix=PART)
        os.close(handle)
        try:
            save_file(tensors, aside, metadata={"record": json.dumps(factors.record())})
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def _keep(self, key: str, factors: Factors) -> None:
        if key in self._recent:
            return
        self._recent[key] = factors
        self._held += _size(factors)
        while self._held > self._memory and len(self._recent) > 1:
            _, dropped = self._recent.popitem(last=False)
            self._held -= _size(dropped)


def _size(factors: Factors) -> int:
    return sum(tensor.nbytes for tensor in factors.tensors.values())
