"""How much memory there is, and how much of it a process holds."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["memory_held", "memory_of_machine"]

_GROUPS = Path("/sys/fs/cgroup")


def memory_of_machine() -> int | None:
    """Bytes of the machine's memory, or of the control group's where that has less; None: not to be found out."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    return min([whole, *_group_limits()])


def memory_held(pid: int) -> int | None:
    """Bytes of memory that a process holds for itself or shares by memory, files it has mapped not counted.

    None where that cannot be found out: no such process, or no ``/proc``.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pages = [line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(int(words[1]) << 10 for words in pages) if pages else None


def _group_limits() -> list[int]:
    """Of this process's control group and those around it, version 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        root, file = (_GROUPS / controllers, "memory.limit_in_bytes") if controllers else (_GROUPS, "memory.max")
        inner = root / path.lstrip("/")
        for group in (inner, *inner.parents):
            if not group.is_relative_to(root):
                break
            limits += _number(group / file)
    return limits


def _number(path: Path) -> list[int]:
    try:
        return [int(path.read_text("ascii"))]
    except (OSError, ValueError):  # not there, or "max"
        return []
