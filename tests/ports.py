"""Ports for servers that must know theirs before they listen, or listen at it again after they were killed."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

_BELOW_EPHEMERAL = range(20_000, 32_000)
"""Where no client's connection comes from: a port that the system had given away by itself could be taken meanwhile."""
_choice = random.SystemRandom()


def free_port() -> int:
    """A port of the loopback at which nobody listens; two calls, of two processes either, seldom give the same."""
    while True:
        port = _choice.choice(_BELOW_EPHEMERAL)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
