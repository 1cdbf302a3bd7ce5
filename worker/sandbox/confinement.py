"""The order in which a process confines itself, and the account it gives of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ranksearch.contracts.resources import SandboxMeasure
from worker.sandbox.policy import Policy

__all__ = ["confine", "hide_from_others", "switched_off"]


@dataclass(frozen=True)
class Measure:
    """Something the process must not be able to do.

    Attributes:
        name: as users read it.
        breach: tries it; what got through, or None.
        by: the mechanisms that prevent it, any one of which may be enough.
    """

    name: str
    breach: Callable[[Policy], str | None]
    by: tuple[str, ...]


NAMES = (
    *("no credentials", "no inherited files", "no network", "no local sockets", "read-only files"),
    *("no reading of other files", "no new processes", "no privileges", "no memory dumps", "agent out of reach"),
    *("memory limit", "file limits", "ends with its agent", "ended first when memory is short"),
)


def confine(policy: Policy) -> list[SandboxMeasure]:
    """Give up, for good, everything that an evaluation has no need of. To be called before any thread is started.

    A mechanism that the kernel does not offer is left out. What is in force afterwards is found out by trying.
    """
    if sys.platform != "linux":
        return _none_in_force(f"this system is {sys.platform}: only Linux offers what it takes")
    failures = _enforce(policy)
    return [_tried(measure, policy, failures) for measure in _measures(policy)]


def hide_from_others() -> None:
    """For the agent, which holds a token: keep other processes of its user, its child first, from looking into it."""
    if sys.platform == "linux":
        from worker.sandbox.privileges import make_undumpable  # noqa: PLC0415 - Linux only

        with contextlib.suppress(OSError):  # Landlock and the filter still keep the child away
            make_undumpable()


def switched_off() -> list[SandboxMeasure]:
    """The account of a process that was told not to confine itself."""
    return _none_in_force("the worker was started with --no-sandbox")


def _none_in_force(reason: str) -> list[SandboxMeasure]:
    return [SandboxMeasure(name=name, in_force=False, reason=reason) for name in NAMES]


def _enforce(policy: Policy) -> dict[str, str]:
    """Apply what there is; mechanism → why it could not be had.

    The order matters. Namespaces bring capabilities of their own, which go next. A change of credentials clears the
    parent's death signal. Landlock closes ``/proc`` for writing, and the filter closes the ways to all of these.
    """
    from worker.sandbox import landlock, limits, namespaces, privileges, seccomp  # noqa: PLC0415 - Linux only
    from worker.sandbox.kernel import Unavailable  # noqa: PLC0415 - Linux only

    mechanisms: tuple[tuple[str, Callable[[Policy], None]], ...] = (
        ("limits", limits.apply_limits),
        ("namespaces", namespaces.leave_network),
        ("capabilities", privileges.drop_privileges),
        ("dumpable", privileges.make_undumpable),
        ("landlock", landlock.restrict_files),
        ("death signal", privileges.die_with_agent),
        ("seccomp", seccomp.install_filter),
    )
    failures = {}
    for name, apply in mechanisms:
        try:
            apply(policy)
        except Unavailable as error:
            failures[name] = str(error)
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: a C library without the function
            failures[name] = f"{name}: {error}"
    return failures


def _measures(policy: Policy) -> list[Measure]:
    from worker.sandbox import probes  # noqa: PLC0415 - Linux only

    measures = [
        Measure("no credentials", probes.credentials, ()),
        Measure("no inherited files", probes.inherited_files, ()),
        Measure("no network", probes.network, ("seccomp", "namespaces")),
        Measure("no local sockets", probes.local_sockets, ("seccomp",)),
        Measure("read-only files", probes.outside_writes, ("landlock", "seccomp")),
        Measure("no reading of other files", probes.secrets, ("landlock",)),
        Measure("no new processes", probes.processes, ("seccomp",)),
        Measure("no privileges", probes.privileges, ("capabilities",)),
        Measure("no memory dumps", probes.memory_dumps, ("dumpable", "limits")),
        Measure("agent out of reach", probes.the_agent, ("seccomp", "landlock")),
        Measure("memory limit", probes.memory_limit, ("limits",)),
        Measure("file limits", probes.file_limits, ("limits",)),
        Measure("ends with its agent", probes.end_with_agent, ("death signal",)),
        Measure("ended first when memory is short", probes.ended_first, ("limits",)),
    ]
    return [measure for measure in measures if measure.name != "memory limit" or policy.data_bytes is not None]


def _tried(measure: Measure, policy: Policy, failures: dict[str, str]) -> SandboxMeasure:
    try:
        breach = measure.breach(policy)
    except (OSError, ValueError) as error:
        breach = f"it could not be tried: {error}"
    if breach is None:
        return SandboxMeasure(name=measure.name, in_force=True)
    reasons = [breach, *(failures[mechanism] for mechanism in measure.by if mechanism in failures)]
    return SandboxMeasure(name=measure.name, in_force=False, reason="; ".join(reasons))
