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

from tests.docker.rehearsal.boots import ENGINE, Boot, group_of
from tests.docker.rehearsal.network import Network, run_here

__all__ = ["PIP_SETTINGS", "TRUSTED", "Machine", "base_system"]

TRUSTED = Path("/usr/local/share/ca-certificates")
PIP_SETTINGS = Path("/etc/pip.conf")
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
        place: a directory in which they, and an engine's images, have directories of the machine's name.
        boot: what it runs.
    """

    def __init__(self, network: Network, name: str, number: int, system: Path, place: Path, boot: Boot) -> None:
        self.name, self.root, self._images = name, place / name, place / f"images-{name}"
        self._network, self._number, self._system, self._boot = network, number, system, boot
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Self:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        run_here("tar", "--extract", "--file", str(self._system), "--directory", str(self.root))
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        if TRUSTED.is_dir():  # of a proxy between this machine and the indexes
            shutil.copytree(TRUSTED, self.root / TRUSTED.relative_to("/"), dirs_exist_ok=True)
            run_here("chroot", str(self.root), "update-ca-certificates", check=False)
        if PIP_SETTINGS.exists():
            shutil.copy(PIP_SETTINGS, self.root / "etc/pip.conf")
        self.address = self._network.plug(self.name, self._number)
        start = self._boot.script(self.name, str(self.root), self._bound())
        self._process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.name}", "sh", "-c", start])
        try:
            self._wait_until_up()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._boot is ENGINE and self._process is not None:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.run("docker ps --quiet | xargs --no-run-if-empty docker kill > /dev/null", quiet=True)
                os.kill(self._first_process(), signal.SIGTERM)
                self._process.wait(30)
        self._end()

    def run(self, script: str, *, quiet: bool = False) -> str:
        """Run lines of shell as one would who sits there; what they say, which is shown unless ``quiet``.

        Raises:
            RuntimeError: a command failed.
        """
        if not quiet:
            for line in script.strip().splitlines():
                print(f"{self.name}$ {line}", flush=True)
        into = [
            "nsenter",
            f"--target={self._first_process()}",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
        ]
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

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()  # and with it the first process of its own, and with that all others
        self._process.wait(30)
        self._network.unplug(self.name)
        deadline = time.monotonic() + 10  # the last of its processes may be about to go
        while groups := list(Path("/sys/fs/cgroup").glob(f"*/{group_of(self.name)}")):
            for group in groups:
                run_here("find", str(group), "-depth", "-type", "d", "-delete", check=False)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        shutil.rmtree(self.root, ignore_errors=True)

    def _bound(self) -> str:
        """Images stay from one rehearsal to the next, where they are wanted."""
        if self._boot is not ENGINE:
            return ""
        kept = self.root / "var/lib/docker"
        for folder in (self._images, kept):
            folder.mkdir(parents=True, exist_ok=True)
        return f"mount --bind {self._images} {kept}"

    def _first_process(self) -> int:
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(told[0])

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run(self._boot.is_up, quiet=True)
            except (RuntimeError, IndexError):
                if time.monotonic() > deadline or self._process is None or self._process.poll() is not None:
                    raise
                time.sleep(0.5)
            else:
                return
