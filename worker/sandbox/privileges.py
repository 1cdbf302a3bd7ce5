"""No privileges, none to be gained, no dumps of memory, and an end that comes with the agent's."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

from worker.sandbox.kernel import call, prctl
from worker.sandbox.policy import Policy

__all__ = ["die_with_agent", "dies_with_parent", "drop_privileges", "is_dumpable", "make_undumpable"]

_SET_PARENT_DEATH_SIGNAL, _GET_PARENT_DEATH_SIGNAL = 1, 2
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4
_DROP_BOUNDING_CAPABILITY = 24
_SET_NO_NEW_PRIVILEGES = 38
_AMBIENT_CAPABILITIES, _CLEAR_ALL = 47, 4
_CAPABILITY_VERSION = 0x20080522


def drop_privileges(_policy: Policy) -> None:
    """Give all capabilities up, and the ways to new ones (``PR_SET_NO_NEW_PRIVS``), also for root.

    Raises:
        OSError: the kernel refused.
    """
    prctl(_SET_NO_NEW_PRIVILEGES, 1)
    with contextlib.suppress(OSError):  # the last capability, or not allowed: then there are none to give up
        for capability in range(64):
            prctl(_DROP_BOUNDING_CAPABILITY, capability)
    with contextlib.suppress(OSError):  # not known before Linux 4.3
        prctl(_AMBIENT_CAPABILITIES, _CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


def make_undumpable(_policy: Policy | None = None) -> None:
    """No core file, and no other process of this user may read this one's memory, environment or files.

    Raises:
        OSError: the kernel refused.
    """
    prctl(_SET_DUMPABLE, 0)


def is_dumpable() -> bool:
    """Whether others of this user may look into this process."""
    return prctl(_GET_DUMPABLE) != 0


def die_with_agent(policy: Policy) -> None:
    """Have the kernel kill this process when the agent's thread that started it ends. Ends it if that has happened.

    To be called after the last change of credentials, which clears it.

    Raises:
        OSError: the kernel refused.
    """
    prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
    if os.getppid() != policy.agent:
        os._exit(0)


def dies_with_parent() -> bool:
    """Whether that is so."""
    number = ctypes.c_int()
    prctl(_GET_PARENT_DEATH_SIGNAL, ctypes.byref(number))
    return number.value == signal.SIGKILL
