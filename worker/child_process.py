"""One child process and the pipes to it: started, written to, read from, ended with everything it started."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["LONGEST_LINE", "ChildProcess"]

LONGEST_LINE = 64 << 20
"""Bytes. What is longer is cut there: a hostile child must not fill the agent's memory."""

_LINES_AHEAD = 4
_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 2.0


class ChildProcess:
    """Runs until it is ended, or ends. It leads a session of its own.

    On Linux a child that asks for it dies with the thread that made this object, so that should be a lasting one.

    Args:
        command: its command line.
        environment: all of its environment.
        directory: its working directory.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], directory: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=directory,
            close_fds=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the agent, which then ends the child
        )
        self._lines: queue.Queue[bytes] = queue.Queue(_LINES_AHEAD)
        self._unwanted = threading.Event()
        self._reader = threading.Thread(target=self._forward, name=f"pipe-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, line: bytes) -> None:
        """Write to its standard input.

        Raises:
            OSError: it is gone.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def receive(self, seconds: float) -> bytes | None:
        """The next line of its standard output; b"" at the end of it; None when there is none in that time."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def wait(self, seconds: float = _GRACE_SECONDS) -> int | None:
        """Its exit status, negative for a signal; None when it still runs after that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Close its standard input, which asks it to end."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it had died with a message in the pipe
                self._process.stdin.close()

    def end(self, *, politely: bool = True) -> None:
        """End it and what it has left in its session. Harmless when that has happened."""
        self.close()
        if politely:
            self.wait()
        _kill_group(self._process)
        self._process.wait()
        self._unwanted.set()
        self._reader.join(_GRACE_SECONDS)
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()

    def _forward(self) -> None:
        """Move lines from the pipe into a short queue, then b"" at its end: pipes have no portable time-out."""
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        while line := self._process.stdout.readline(LONGEST_LINE):
            if not self._put(line):
                return
        self._put(b"")

    def _put(self, line: bytes) -> bool:
        while not self._unwanted.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=_LOOK_SECONDS)
                return True
        return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The whole group: a group exists for as long as anything in it does, also after its leader has ended."""
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
