"""Whether each measure is in force, found out by trying what it should prevent, from inside.

A probe answers what got through, or None. A right errno is not enough where the same one would come without the
measure, so each tries something that this user could otherwise do: the witness is a file of the same user.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import socket
from pathlib import Path

from worker.sandbox.limits import out_of_memory_score, wanted_limits
from worker.sandbox.policy import Policy
from worker.sandbox.privileges import dies_with_parent, is_dumpable

__all__ = [
    "credentials",
    "end_with_agent",
    "ended_first",
    "file_limits",
    "inherited_files",
    "local_sockets",
    "memory_dumps",
    "memory_limit",
    "network",
    "outside_writes",
    "privileges",
    "processes",
    "secrets",
    "the_agent",
]

_SECRETS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "ACCESS_KEY")
_STANDARD_FILES = {0, 1, 2}
_DISCARD = 9
_HIGHEST_SCORE = 1000


def credentials(_policy: Policy) -> str | None:
    """Of the environment."""
    told = sorted(name for name in os.environ if any(word in name.upper() for word in _SECRETS))
    return f"the environment holds {', '.join(told)}" if told else None


def inherited_files(_policy: Policy) -> str | None:
    """Besides the three standard ones."""
    more = sorted({int(path.name) for path in Path("/proc/self/fd").iterdir()} - _STANDARD_FILES)
    inherited = [descriptor for descriptor in more if _is_open(descriptor)]  # what listed them is closed by now
    return f"file descriptors {inherited} are open" if inherited else None


def network(_policy: Policy) -> str | None:
    """By sending nothing to somebody on this machine, and to somebody elsewhere, in the ways that sockets allow."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "192.0.2.1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as made:
            made.connect((address, _DISCARD))
            return f"{address} can be sent to"
    with contextlib.suppress(OSError), socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return "sockets to a virtual machine's host can be made"
    return None


def local_sockets(policy: Policy) -> str | None:
    """Unix sockets: a desktop's bus, a container engine, an agent of keys."""
    if policy.local_sockets:
        return "CUDA's multi-process service is in use here, and is reached through one"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as made:
        if not policy.driver:
            return "a local socket can be made"
        return _conversation(made)
    return None


def _conversation(made: socket.socket) -> str | None:
    """A GPU's driver makes a socket and listens on it; nobody may be reached through one."""
    for what, attempt in (
        ("connected", lambda: made.connect("/run/none")),
        ("sent to", lambda: made.sendto(b"", "/run/none")),
        ("accepted from", made.accept),
    ):
        try:
            attempt()
        except PermissionError:
            continue
        except OSError:
            pass
        return f"a local socket can be {what}"
    return None


def outside_writes(policy: Policy) -> str | None:
    """Next to the witness, and the witness itself."""
    made = policy.witness.with_name("made-by-the-child")
    with contextlib.suppress(OSError):
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        made.unlink()
        return "a file can be made outside of the cache and the working directory"
    with contextlib.suppress(OSError):
        os.close(os.open(policy.witness, os.O_WRONLY | os.O_APPEND))
        return "a file of this user can be written"
    with contextlib.suppress(OSError):
        policy.witness.chmod(0o600)
        return "the mode of a file of this user can be changed"
    return None


def secrets(policy: Policy) -> str | None:
    """The witness, which stands for a token's file or a private key."""
    with contextlib.suppress(OSError):
        policy.witness.read_bytes()
        return "a file of this user can be read"
    return None


def processes(_policy: Policy) -> str | None:
    """By forking."""
    with contextlib.suppress(OSError):
        made = os.fork()
        if made == 0:
            os._exit(0)
        os.waitpid(made, 0)
        return "a process can be started"
    return None


def privileges(_policy: Policy) -> str | None:
    """Capabilities, and the promise to gain none."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    held = [name for name in ("CapPrm", "CapEff", "CapInh", "CapAmb") if int(status.get(name, "0"), 16)]
    if held:
        return f"capabilities are held ({', '.join(held)})"
    return None if status.get("NoNewPrivs") == "1" else "a set-user-id program would gain privileges"


def memory_dumps(_policy: Policy) -> str | None:
    """Core files, and looks from outside."""
    if is_dumpable():
        return "other processes of this user may look into this one"
    return None if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else "core files are written"


def the_agent(policy: Policy) -> str | None:
    """Signals to it, its environment (which holds the token), its limits."""
    with contextlib.suppress(OSError):
        os.kill(policy.agent, 0)
        return "the agent can be sent signals"
    with contextlib.suppress(OSError):
        Path(f"/proc/{policy.agent}/environ").read_bytes()
        return "the agent's environment can be read"
    with contextlib.suppress(OSError, AttributeError):
        resource.prlimit(policy.agent, resource.RLIMIT_NOFILE)
        return "the agent's limits can be changed"
    return None


def memory_limit(policy: Policy) -> str | None:
    """By asking for more than it."""
    if policy.data_bytes is None:
        return "no limit is set"
    with contextlib.suppress(OSError):
        mmap.mmap(-1, policy.data_bytes + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        return "more memory can be had"
    return None


def file_limits(policy: Policy) -> str | None:
    """Their size and number."""
    for limit, value in wanted_limits(policy).items():
        _, hard = resource.getrlimit(limit)
        if hard == resource.RLIM_INFINITY or hard > value:
            return f"limit {limit} is {hard}, above {value}"
    return None


def end_with_agent(_policy: Policy) -> str | None:
    """As the kernel has noted it."""
    return None if dies_with_parent() else "the kernel would let it go on without its agent"


def ended_first(policy: Policy) -> str | None:
    """When the machine is short of memory, before the agent."""
    own, agent = out_of_memory_score("self"), out_of_memory_score(policy.agent)
    return None if own > agent or own == _HIGHEST_SCORE else f"its score is {own}, the agent's {agent}"


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
