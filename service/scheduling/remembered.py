"""What never changes once it is there, read once: which bytes a model or a data set is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Remembered"]

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """The last values that were asked for, by their keys. Safe to use from several threads.

    Only for what is the same for as long as its key exists, and for keys that are never used again.

    Args:
        most: values that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Value] = OrderedDict()

    def of(self, key: str, read: Callable[[], Value]) -> Value:
        """The value, as ``read`` finds it the first time; two threads may both read it."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        found = read()
        with self._lock:
            self._values[key] = found
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return found

    def known(self, key: str) -> Value | None:
        """The value, if it is remembered."""
        with self._lock:
            return self._values.get(key)

    def forget(self, key: str) -> None:
        """Nothing of this key is wanted any more."""
        with self._lock:
            self._values.pop(key, None)
