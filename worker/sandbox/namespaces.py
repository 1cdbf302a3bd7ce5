"""A network namespace without a network, and a user namespace in which no privilege reaches outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from worker.sandbox.kernel import Unavailable, call
from worker.sandbox.policy import Policy

__all__ = ["leave_network"]

_NEW_USER = 0x10000000
_NEW_NETWORK = 0x40000000

_REFUSED = (
    "new user namespaces are not allowed here: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or"
    " kernel.apparmor_restrict_unprivileged_userns, or the seccomp profile of the container"
)


def leave_network(_policy: Policy) -> None:
    """Move to namespaces of this process's own, keeping its user and group. No thread may have been started yet.

    Raises:
        Unavailable: the kernel or the container does not allow it.
        OSError: it failed otherwise.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        call("unshare", _NEW_USER | _NEW_NETWORK)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOSPC, errno.ENOSYS, errno.EUSERS}:
            raise Unavailable(_REFUSED) from None
        raise
    Path("/proc/self/setgroups").write_text("deny", "ascii")  # without it an unprivileged gid_map is refused
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")
