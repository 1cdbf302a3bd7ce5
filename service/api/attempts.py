"""How often a client may try to sign in."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict, deque

from ranksearch.contracts.errors import AccessError

__all__ = ["SignInAttempts"]

_CLIENTS = 10_000


class SignInAttempts:
    """Counts, in this process, the attempts of each address; those that succeeded are taken back.

    Args:
        most: so many that fail are let through
        seconds: within so long.
    """

    def __init__(self, most: int = 10, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._made: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, address: str) -> None:
        """Count an attempt.

        Raises:
            AccessError: ``too_many_attempts``; ``extra["retry_after"]`` says for how many seconds.
        """
        at = time.monotonic()
        with self._lock:
            made = self._made.setdefault(_client(address), deque())
            self._made.move_to_end(_client(address))
            while len(self._made) > _CLIENTS:
                self._made.popitem(last=False)
            while made and made[0] <= at - self._seconds:
                made.popleft()
            if len(made) >= self._most:
                wait = math.ceil(made[0] + self._seconds - at)
                raise AccessError(
                    "too_many_attempts",
                    "too many attempts to sign in have failed",
                    expected=f"at most {self._most} within {self._seconds:g} s",
                    mend=f"wait {wait} s",
                    retry_after=wait,
                )
            made.append(at)

    def succeeded(self, address: str) -> None:
        """The last attempt was none at guessing."""
        with self._lock:
            made = self._made.get(_client(address))
            if made:
                made.pop()


def _client(address: str) -> str:
    """Whose address it is: of IPv6 the network, of which one client has all addresses."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if known.version == 4 else str(ipaddress.ip_network(f"{address}/64", strict=False))  # noqa: PLR2004 - IPv4
