"""Has the C library keep the memory that an evaluation frees, for the next layer to use.

Every activation of a network is allocated and freed again. glibc gives blocks of that size back to the kernel at
once, and gets each new one back page by page, each page cleared: on machines that are short of memory or virtual,
that costs more than the arithmetic (seen: trials three times slower, half of the time in the kernel).
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
_LARGEST_MMAP_THRESHOLD = 4 << 20 << 3  # glibc takes no more; blocks above it still go back
_KEPT = (1 << 31) - 1
_AT_ONCE = 64 << 20


def keep_freed_memory() -> None:
    """Tune glibc's malloc for this process; elsewhere, do nothing."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_TOP_PAD, _AT_ONCE)
