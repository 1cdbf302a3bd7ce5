"""The compressed networks that were calibrated last: the file that a study hands out is of one of them.

Finalists are measured on the images that files are calibrated on, so that the best one's network need not be made
twice. What is kept never enters a measurement: trials always begin anew, so that their timings mean something.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

__all__ = ["KeptNetworks"]

_MOST = 8
_BYTES = 256 << 20


class KeptNetworks:
    """Calibrated networks by what they were made from, the least recently made let go first.

    Args:
        most: so many at once.
        limit: bytes that all of them together may take.
    """

    def __init__(self, most: int = _MOST, limit: int = _BYTES) -> None:
        self._most, self._limit = most, limit
        self._kept: OrderedDict[object, tuple[nn.Module, int]] = OrderedDict()

    def keep(self, key: object, network: nn.Module) -> None:
        """Keep one, unless it is too large."""
        self._kept.pop(key, None)
        self._kept[key] = network, _bytes_of(network)
        while len(self._kept) > self._most or sum(size for _, size in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)

    def get(self, key: object) -> nn.Module | None:
        """The one made from this."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()


def _bytes_of(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
