"""A command in a terminal of its own: what stands on its screen, its keys, its size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

__all__ = ["PseudoTerminal"]

_IN_ITS_OWN_SESSION = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
_OTHER_SCREEN, _FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
_CURSOR_SHOWN, _CURSOR_HIDDEN = "\x1b[?25h", "\x1b[?25l"
_HOME = "\x1b[H"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_LONGEST = 60.0
"""Seconds; what a broken program takes for ever."""


class PseudoTerminal:
    """Runs ``ranksearch`` in it. A context manager that ends what still runs.

    Args:
        words: of the command line.
        environment: added to this process's own.
        rows: of the terminal.
        columns: of the terminal.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], *, rows: int = 30, columns: int = 80
    ) -> None:
        self._controller, terminal = pty.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(terminal)
        self._terminal = terminal
        self.written = ""
        self._bytes = b""
        command = [sys.executable, "-c", _IN_ITS_OWN_SESSION, sys.executable, "-m", "ranksearch", *words]
        # A size that is in the environment would count for more than the terminal's; pytest's own may be there.
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        env = {**inherited, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment}
        self.process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)
        os.close(self._controller)

    @property
    def screen(self) -> list[str]:
        """What was drawn last on the other screen, as far as it has come."""
        drawn = self.written.rpartition(_OTHER_SCREEN)[2].partition(_FIRST_SCREEN)[0]
        frames = drawn.split(_HOME)
        return _lines(frames[-1])

    @property
    def scrollback(self) -> list[str]:
        """What stands on the first screen."""
        return _lines("".join(part.partition(_FIRST_SCREEN)[2] for part in self.written.split(_OTHER_SCREEN)[1:]))

    @property
    def is_whole(self) -> bool:
        """Whether the first screen is shown, with its cursor, and the line discipline is what it was."""
        back = self.written.rfind(_FIRST_SCREEN) > self.written.rfind(_OTHER_SCREEN)
        cursor = self.written.rfind(_CURSOR_SHOWN) > self.written.rfind(_CURSOR_HIDDEN)
        return back and cursor and termios.tcgetattr(self._terminal) == self.settings

    def until(self, condition: Callable[[], bool]) -> None:
        """Read until it holds."""
        deadline = time.monotonic() + _LONGEST
        while not condition():
            assert time.monotonic() < deadline, f"never came: the screen is\n{chr(10).join(self.screen)}"
            self._read(0.1)

    def until_shown(self, words: str) -> None:
        """Read until they stand on the screen."""
        self.until(lambda: any(words in line for line in self.screen))

    def type(self, keys: bytes) -> None:
        os.write(self._controller, keys)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self) -> int:
        """Its exit status, once it has one; all that it wrote has been read."""
        self.until(lambda: self.process.poll() is not None)
        while self._read(0.1):
            pass
        return self.process.wait()

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._controller], [], [], seconds)
        if ready:
            self._bytes += os.read(self._controller, 65_536)
            self.written = self._bytes.decode(errors="ignore")
        return bool(ready)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in _CONTROLS.sub("", text).split("\n")]
