"""What was used last, and is kept for its next use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Recent"]

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The most recently used values of a function of a key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[object, Value] = OrderedDict()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """The value under this key, made if it is not there."""
        if key not in self._values:
            value = make()
            self._values[key] = value
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]

    def keys(self) -> list[object]:
        """What is kept, the least recently used first."""
        return list(self._values)

    def clear(self) -> None:
        """Forget all of them."""
        self._values.clear()
