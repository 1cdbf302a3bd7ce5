"""One child process: a module of this distribution, with its log, and an end that is certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Child", "module_environment"]

_LARGE_LOG: Final = 5 << 20
_SET_PARENT_DEATH_SIGNAL: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A running ``python -m module``. Its output goes to a log file.

    It is the leader of a session of its own: Ctrl-C on the terminal reaches only the parent, which stops its
    children in order, and what a child leaves behind can be swept up with it. On Linux it ends with the thread that
    started it, however that ends.

    Args:
        name: in messages.
        module: of this distribution.
        arguments: of its command line; secrets do not belong there.
        environment: what it gets besides this process's own.
        log: the file that its output is appended to.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._module = module
        self._arguments = list(arguments)
        self._environment = dict(environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LARGE_LOG:
            log.replace(log.with_suffix(".log.1"))
        self._process = self._started()

    @property
    def pid(self) -> int:
        """Of the process as it runs now; a restarted child has another one."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.exit_code is None

    def restart(self) -> None:
        """Start it again after its end, with the same arguments."""
        self.kill()
        self._process = self._started()

    def ask_to_stop(self) -> None:
        """SIGTERM; returns at once."""
        if self.running:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.running

    def kill(self) -> None:
        """End it now, with whatever it started and left in its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, characters: int = 480) -> str:
        """The end of its log, as much as an error shows."""
        try:
            text = self.log.read_text("utf-8", errors="replace")
        except OSError:
            return ""
        return text.strip()[-characters:]

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - this distribution's own modules
                [sys.executable, "-m", self._module, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**module_environment(), **self._environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, resolved before the fork
            )


def module_environment() -> dict[str, str]:
    """This process's environment, in which the modules are those of this distribution.

    The working directory stays off the path: a user's own ``worker.py`` there is not what is meant.
    """
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).resolve().parents[2]
    if str(root) not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:  # a checkout
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM should the parent be killed without a chance to stop its children."""
    if _LIBC is not None:
        _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
