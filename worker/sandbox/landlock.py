"""Which files the process may read and write: Landlock, which needs no privileges (Linux 5.13 and later).

What a process has once given up cannot be had back, by it or by anything it starts. What the kernel does not know yet
is left out: version 2 lets renaming between directories be allowed, 3 restricts truncating, 4 TCP, 5 the control of
devices, 6 signals and abstract sockets. Whatever has no rule is refused; changing modes, owners and attributes is not
Landlock's business, see :mod:`worker.sandbox.seccomp`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from enum import IntFlag
from pathlib import Path

from worker.sandbox.kernel import Unavailable, call
from worker.sandbox.policy import Policy
from worker.sandbox.readable import listed_paths, readable_paths

__all__ = ["landlock_version", "restrict_files"]

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_TCP_VERSION, _SCOPE_VERSION = 4, 6
_TCP = 0b11  # binding and connecting
_SCOPES = 0b11  # abstract Unix sockets and signals


class _Right(IntFlag):
    """``LANDLOCK_ACCESS_FS_…``."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_KNOWN_SINCE = {_Right.REFER: 2, _Right.TRUNCATE: 3, _Right.IOCTL_DEV: 5}
_READ = _Right.READ_FILE | _Right.READ_DIR
_CHANGE = _Right.MAKE_DIR | _Right.MAKE_REG | _Right.REMOVE_DIR | _Right.REMOVE_FILE | _Right.REFER
_WRITE = _READ | _Right.WRITE_FILE | _Right.TRUNCATE | _CHANGE
_CONTROL = _READ | _Right.WRITE_FILE | _Right.IOCTL_DEV
_OF_A_FILE = _Right.EXECUTE | _Right.WRITE_FILE | _Right.READ_FILE | _Right.TRUNCATE | _Right.IOCTL_DEV


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_version() -> int:
    """The kernel's version of Landlock's interface.

    Raises:
        Unavailable: it has none, or it is switched off.
    """
    try:
        return call("syscall", _CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unavailable(
                "Landlock is built into this kernel but switched off: add it to the boot parameter, lsm=landlock,…"
            ) from None
        raise Unavailable(
            "this kernel or container offers no Landlock: Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK is needed,"
            " and a seccomp profile that allows landlock_create_ruleset"
        ) from None


def restrict_files(policy: Policy) -> None:
    """Keep this process to the policy's files. No thread may have been started yet, ``no_new_privs`` must be set.

    Paths that do not exist are left out.

    Raises:
        Unavailable: the kernel has no Landlock.
        OSError: it refused the rules.
    """
    version = landlock_version()
    handled = _Right(sum(right for right in _Right if _KNOWN_SINCE.get(right, 1) <= version))
    ruleset = _Ruleset(
        handled_access_fs=int(handled),
        handled_access_net=_TCP if version >= _TCP_VERSION else 0,
        scoped=_SCOPES if version >= _SCOPE_VERSION else 0,
    )
    descriptor = call("syscall", _CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    try:
        _allow(descriptor, [*readable_paths(policy.home), *policy.reads], _READ & handled)
        _allow(descriptor, listed_paths(), _Right.READ_DIR)
        _allow(descriptor, policy.writes, _WRITE & handled)
        _allow(descriptor, policy.devices, _CONTROL & handled)
        if policy.driver:  # CUDA names its threads, and gives up where it cannot
            _allow(descriptor, [Path("/proc/self/task")], (_Right.WRITE_FILE | _Right.TRUNCATE) & handled)
        call("syscall", _RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


def _allow(ruleset: int, paths: Iterable[Path], rights: _Right) -> None:
    for path in paths:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not there, or not for this user: nothing to allow
            continue
        try:
            wanted = rights if stat.S_ISDIR(os.fstat(opened).st_mode) else rights & _OF_A_FILE
            rule = _PathBeneath(allowed_access=int(wanted), parent_fd=opened)
            call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(opened)
