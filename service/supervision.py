"""What the program that started this service is told of it, where it is one that asks: systemd's ``Type=notify``."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final, Literal

__all__ = ["tell_supervisor"]

log = logging.getLogger(__name__)

_ASKED: Final = "NOTIFY_SOCKET"


def tell_supervisor(state: Literal["READY=1", "STOPPING=1"], environment: Mapping[str, str] = os.environ) -> None:
    """Send one state, as sd_notify(3) describes; nothing where nobody asked. That nobody listens is no problem."""
    address = environment.get(_ASKED)
    if not address:
        return
    if address.startswith("@"):  # of Linux's abstract names
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.connect(address)
            line.sendall(state.encode())
    except OSError as problem:
        log.warning("the supervisor could not be told %s: %s", state, problem)
