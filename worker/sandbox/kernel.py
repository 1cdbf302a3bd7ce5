"""System calls of Linux that Python does not offer, through the C library."""

from __future__ import annotations

import ctypes
import functools
import os

__all__ = ["Unavailable", "call", "prctl"]


class Unavailable(Exception):
    """The kernel, or the container around this process, does not offer something; says what and how to mend it."""


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library that answers -1 and sets ``errno`` when it fails.

    Args:
        name: of the function; ``syscall`` with a number first is the way to calls without a wrapper.
        arguments: integers, passed as C longs, and ctypes objects, passed as they are.

    Raises:
        OSError: it failed.
    """
    converted = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    function = getattr(_libc(), name)
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    answer = int(function(*converted))
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def prctl(option: int, *arguments: object) -> int:
    """``prctl(2)``, with the arguments that are not given as 0.

    Raises:
        OSError: it failed.
    """
    return call("prctl", option, *arguments, *(0 for _ in range(4 - len(arguments))))
