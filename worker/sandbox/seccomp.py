"""Which system calls the process may make: a seccomp filter, which needs no privileges.

The list names what is refused, not what is allowed: torch, CUDA's driver and the C library use hundreds of calls, and
others with every version. Refused are sockets, new processes, signals to others, looking into others, changing modes
and owners of files, everything that only administrators do, and the ways around these rules (``io_uring``, other
calling conventions, undoing what was set before). A GPU's driver makes a local socket; nobody is reached through it.

A filter is a program of the classic Berkeley packet filter over ``struct seccomp_data``: number, architecture,
instruction pointer, six arguments. It can compare an argument, but not look behind a pointer; ``clone3`` keeps its
flags behind one, so it is answered "not known", and the C library falls back to ``clone``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import sys
from collections.abc import Iterable
from typing import NamedTuple

from worker.sandbox.kernel import Unavailable, prctl
from worker.sandbox.policy import Policy
from worker.sandbox.system_calls import ARCHITECTURES, CONDITIONAL, CONVERSING, REFUSED

__all__ = ["install_filter"]

_SET_SECCOMP, _FILTER_MODE = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_FAIL_WITH = 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_OTHER_CONVENTION = 0x40000000  # set in the numbers of x86-64's 32-bit pointers mode

_THREAD = 0x00010000  # CLONE_THREAD
_PARENT_DEATH_SIGNAL, _DUMPABLE, _PTRACER = 1, 4, 0x59616D61
_PUSH_INPUT, _LINUX_CONSOLE = 0x5412, 0x541C  # of ioctl: keystrokes into a terminal


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


class _Step(NamedTuple):
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


def install_filter(policy: Policy) -> None:
    """Refuse these calls from now on. No thread may have been started yet, ``no_new_privs`` must be set.

    Raises:
        Unavailable: the kernel has no seccomp filters, or this architecture has no list.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES or sys.byteorder != "little":
        raise Unavailable(f"no list of system calls for {machine}: x86_64 and aarch64 have one")
    _load(_filter(machine, policy))


def _load(steps: list[_Step]) -> None:
    instructions = (_Instruction * len(steps))(
        *(_Instruction(step.code, step.if_true, step.if_false, step.value) for step in steps)
    )
    try:
        prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(_Program(len(steps), instructions)))
    except OSError as error:
        raise Unavailable(f"this kernel or container takes no seccomp filter ({error.strerror})") from None


def _filter(machine: str, policy: Policy) -> list[_Step]:
    audit_number, column = ARCHITECTURES[machine]
    number = {name: numbers[column] for name, numbers in CONDITIONAL.items()}
    own = [os.getpid()]
    families = [int(socket.AF_UNIX)] if policy.local_sockets or policy.driver else []
    unheard = {} if policy.local_sockets else CONVERSING
    steps = [
        *(_Step(_LOAD, _ARCHITECTURE), _Step(_EQUAL, audit_number, 1, 0), _fail(errno.EPERM)),
        *(_Step(_LOAD, _NUMBER), _Step(_AT_LEAST, _OTHER_CONVENTION, 0, 1), _fail(errno.EPERM)),
        *_only(number["socket"], 0, families, error=errno.EACCES),
        *_when(number["clone"], [_argument(0), _Step(_ANY_BIT, _THREAD, 0, 1), _pass(), _fail(errno.EPERM)]),
        *_when(number["clone3"], [_fail(errno.ENOSYS)]),
        *_only(number["prlimit64"], 0, [0, *own]),
        *_never(number["prctl"], 0, [_PARENT_DEATH_SIGNAL, _DUMPABLE, _PTRACER]),
        *_never(number["ioctl"], 1, [_PUSH_INPUT, _LINUX_CONSOLE]),
    ]
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        steps += _only(number[name], 0, own)
    for numbers in (*REFUSED.values(), *unheard.values()):
        if numbers[column] is not None:
            steps += _when(numbers[column], [_fail(errno.EPERM)])
    return [*steps, _pass()]


def _pass() -> _Step:
    return _Step(_RETURN, _ALLOW)


def _fail(number: int) -> _Step:
    return _Step(_RETURN, _FAIL_WITH | number)


def _argument(index: int) -> _Step:
    """Load the lower half of an argument: all that the kernel itself looks at, these being C ints."""
    return _Step(_LOAD, _ARGUMENTS + 8 * index)


def _when(number: int | None, then: list[_Step]) -> list[_Step]:
    """``then`` for one system call. It must end in a return; the others find their number still loaded."""
    if number is None:
        return []
    return [_Step(_EQUAL, number, 0, len(then)), *then]


def _only(number: int | None, index: int, values: Iterable[int], *, error: int = errno.EPERM) -> list[_Step]:
    """Allow a system call with these values of an argument only."""
    cases = [step for value in values for step in (_Step(_EQUAL, value, 0, 1), _pass())]
    return _when(number, [_argument(index), *cases, _fail(error)])


def _never(number: int | None, index: int, values: Iterable[int]) -> list[_Step]:
    """Refuse a system call with these values of an argument."""
    cases = [step for value in values for step in (_Step(_EQUAL, value, 0, 1), _fail(errno.EPERM))]
    return _when(number, [_argument(index), *cases, _pass()])
