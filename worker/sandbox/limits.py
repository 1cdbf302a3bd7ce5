"""Limits of what the process may take: memory, files, core dumps, and who is ended first when memory is short."""

from __future__ import annotations

import resource
from pathlib import Path

from worker.sandbox.policy import Policy

__all__ = ["apply_limits", "out_of_memory_score", "wanted_limits"]

_ENDED_FIRST = 500


def apply_limits(policy: Policy) -> None:
    """Set them, soft and hard: they can be lowered afterwards, never raised.

    Memory is limited by ``RLIMIT_DATA`` (private writable memory). ``RLIMIT_AS`` would count what is merely reserved,
    and CUDA reserves as much address space as all devices and the machine have memory.

    Raises:
        OSError: a limit cannot be set.
    """
    for limit, value in wanted_limits(policy).items():
        _, hard = resource.getrlimit(limit)
        within = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (within, within))
    score = max(out_of_memory_score("self"), _ENDED_FIRST)
    Path("/proc/self/oom_score_adj").write_text(str(score), "ascii")


def wanted_limits(policy: Policy) -> dict[int, int]:
    """``RLIMIT_…`` → its value."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: policy.file_bytes,
        resource.RLIMIT_NOFILE: policy.open_files,
    }
    if policy.data_bytes is not None:
        limits[resource.RLIMIT_DATA] = policy.data_bytes
    return limits


def out_of_memory_score(process: int | str) -> int:
    """How much a process is preferred when the kernel has to end one for its memory, -1000 to 1000.

    Raises:
        OSError: no such process, or no ``/proc``.
    """
    return int(Path("/proc", str(process), "oom_score_adj").read_text("ascii"))
