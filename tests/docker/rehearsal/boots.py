"""What machines run: nothing but those who sit at them, a Docker engine, or systemd.

For systemd this machine must have control groups of version 1, alone or beside version 2.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENGINE", "NOTHING", "SYSTEMD", "Boot", "group_of"]

_SHARED = """
mount --rbind /sys {root}/sys
mount --rbind /dev {root}/dev
"""
# systemd is given a hierarchy of control groups that is its own, and devices that it may rearrange.
_OWN = """
mount -t sysfs -o ro sysfs {root}/sys
mount -t tmpfs tmpfs {root}/sys/fs/cgroup
mkdir {root}/sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup {root}/sys/fs/cgroup/systemd
mount -t tmpfs -o mode=0755 tmpfs {root}/dev
for device in null zero full random urandom tty; do
  touch {root}/dev/$device
  mount --bind /dev/$device {root}/dev/$device
done
mkdir {root}/dev/shm {root}/dev/pts
mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm
ln -s /proc/self/fd {root}/dev/fd
ln -s pts/ptmx {root}/dev/ptmx
"""
# In each hierarchy: what systemd finds in one that it is given whole, it arranges as if there was nobody else.
_JOIN = """
for hierarchy in /sys/fs/cgroup/*; do
  mkdir -p $hierarchy/{group}
  echo $$ 2> /dev/null > $hierarchy/{group}/cgroup.procs || true
done
"""


@dataclass(frozen=True)
class Boot:
    """How a machine is started.

    Args:
        packages: what its system must have.
        program: the first process.
        is_up: a command that succeeds once it is.
        mounts: how /sys and /dev come to be; ``{root}`` is where the machine's files are.
        before: what is done outside, before there are namespaces; ``{group}`` is of the machine's control groups.
        namespaces: further options of unshare.
        after: what is done inside, before the program.
    """

    packages: tuple[str, ...]
    program: str
    is_up: str = "true"
    mounts: str = _SHARED
    before: str = ""
    namespaces: str = ""
    after: str = ""

    def script(self, name: str, root: str, bound: str = "") -> str:
        """Lines of shell for the process that becomes the machine.

        Args:
            name: its host name.
            root: where its files are.
            bound: further mounts.
        """
        return _START.format(
            name=name,
            root=root,
            before=self.before.format(group=group_of(name)),
            namespaces=self.namespaces,
            mounts=self.mounts.format(root=root) + bound,
            after=self.after,
            program=self.program.format(group=group_of(name)),
        )


def group_of(name: str) -> str:
    """The control group, in each hierarchy, in which a machine's processes are where something sorts them."""
    return f"rehearsal-{name}"


_START = """
set -eu
{before}
exec unshare --mount --pid --uts --ipc {namespaces} --fork --kill-child sh -euc '
hostname {name}
mount --make-rprivate /
mount --bind {root} {root}
mount -t proc proc {root}/proc
{mounts}
mount -t tmpfs -o mode=0755 tmpfs {root}/run
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
cd {root}
mkdir -p old
pivot_root . old
umount --lazy /old
{after}
exec {program}'
"""

NOTHING = Boot(
    packages=("ca-certificates", "curl", "iproute2", "mount", "procps", "python3", "python3-venv"),
    program="sleep infinity",
)
ENGINE = Boot(
    packages=(
        *("docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables", "openssl", "git", "sudo"),
        *NOTHING.packages,
    ),
    program="dockerd --log-level=warn --cgroup-parent=/{group} > /var/log/dockerd.log 2>&1",
    is_up="docker info > /dev/null",
)
SYSTEMD = Boot(
    packages=("systemd", "systemd-sysv", "dbus", *NOTHING.packages),
    program="env --ignore-environment container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    ' SYSTEMD_PROC_CMDLINE="systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1" /sbin/init',
    is_up="systemctl is-system-running --wait > /dev/null",
    mounts=_OWN,
    before=_JOIN,
    namespaces="--cgroup",
    after="mount --make-rshared /",  # as on a machine, so that what it prepares for a unit reaches it
)
