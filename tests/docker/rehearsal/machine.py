"""One Debian system, made of packages, in namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docker.rehearsal.network import Network, run_here

__all__ = ["PIP_SETTINGS", "TRUSTED", "Machine", "base_system"]

TRUSTED = Path("/usr/local/share/ca-certificates")
PIP_SETTINGS = Path("/etc/pip.conf")
_START = """
set -eu
hostname {name}
mount --make-rprivate /
mount --bind {root} {root}
mount -t proc proc {root}/proc
mount --rbind /sys {root}/sys
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=0755 tmpfs {root}/run
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
cd {root}
mkdir -p old
pivot_root . old
umount --lazy /old
exec {program}
"""
_SESSION = """
set -euo pipefail
export HOME=/root
cd
if [ -f .session ]; then . ./.session; cd "$(cat .place)"; fi
{script}
pwd > ~/.place
export -p > ~/.session
"""
"""What one block exports, and where it goes, is there for the next, as in one terminal."""


def base_system(suite: str, packages: Sequence[str], path: Path) -> Path:
    """A Debian of these packages as a tar file; one that is there already is taken as it is."""
    if not path.exists():
        print(f"-- {path.name}: Debian {suite} with {', '.join(packages)}", flush=True)
        indexes = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
        mirrors = subprocess.run(indexes, check=True, capture_output=True, text=True).stdout.split()
        made = path.with_suffix(".new")
        command = ["mmdebstrap", "--quiet", "--variant=apt", "--format=tar", f"--include={','.join(packages)}"]
        with made.open("wb") as file:
            subprocess.run([*command, suite, "-", *mirrors[:1]], check=True, stdout=file)
        made.rename(path)
    return path


class Machine:
    """Runs from ``with`` to its end.

    Args:
        network: where it is plugged in.
        name: its host name.
        number: the last part of its address.
        system: its files, as a tar file.
        root: a directory for them, which is made anew.
        images: where its engine keeps images; None: it has no engine.
    """

    def __init__(self, network: Network, name: str, number: int, system: Path, root: Path, images: Path | None) -> None:
        self.name, self.root, self.images = name, root, images
        self._network, self._number, self._system = network, number, system
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Self:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        run_here("tar", "--extract", "--file", str(self._system), "--directory", str(self.root))
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        if TRUSTED.is_dir():  # of a proxy between this machine and the indexes
            shutil.copytree(TRUSTED, self.root / TRUSTED.relative_to("/"), dirs_exist_ok=True)
            run_here("chroot", str(self.root), "update-ca-certificates", check=False)
        if PIP_SETTINGS.exists():
            shutil.copy(PIP_SETTINGS, self.root / "etc/pip.conf")
        program = "sleep infinity"
        if self.images is not None:
            self.images.mkdir(parents=True, exist_ok=True)
            kept = self.root / "var/lib/docker"
            kept.mkdir(parents=True, exist_ok=True)
            program = "dockerd --log-level=warn > /var/log/dockerd.log 2>&1"
        self.address = self._network.plug(self.name, self._number)
        start = _START.format(name=self.name, root=self.root, program=program)
        if self.images is not None:
            start = start.replace("cd ", f"mount --bind {self.images} {self.root}/var/lib/docker\ncd ", 1)
        confined = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c", start]
        self._process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.name}", *confined])
        self._wait_until_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self.images is not None:
            self.run("docker ps --quiet | xargs --no-run-if-empty docker kill > /dev/null", quiet=True)
            os.kill(self._first_process(), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        self._process.kill()  # and with it the first process of its own, and with that all others
        self._process.wait(30)
        self._network.unplug(self.name)
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, script: str, *, quiet: bool = False) -> str:
        """Run lines of shell as one would who sits there; what they say, which is shown unless ``quiet``.

        Raises:
            RuntimeError: a command failed.
        """
        if not quiet:
            for line in script.strip().splitlines():
                print(f"{self.name}$ {line}", flush=True)
        into = ["nsenter", f"--target={self._first_process()}", "--net", "--mount", "--pid", "--uts", "--ipc"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command = [*into, "env", "--ignore-environment", path, "bash", "-c", _SESSION.format(script=script)]
        done = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.stdout is not None
        said = []
        for raw in done.stdout:
            line = raw.decode(errors="replace")
            said.append(line)
            if not quiet:
                sys.stdout.write(f"  {line}")
                sys.stdout.flush()
        if done.wait() != 0:
            raise RuntimeError(f"{self.name}: status {done.returncode} of\n{script}\n{''.join(said)}")
        return "".join(said)

    def write(self, path: str, content: bytes) -> None:
        """Bring a file here, as one would by scp."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def read(self, path: str) -> bytes:
        """A file from here."""
        return (self.root / path.lstrip("/")).read_bytes()

    def _first_process(self) -> int:
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(told[0])

    def _wait_until_up(self) -> None:
        asks = "true" if self.images is None else "docker info > /dev/null"
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run(asks, quiet=True)
            except (RuntimeError, IndexError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return
