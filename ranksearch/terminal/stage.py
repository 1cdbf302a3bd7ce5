"""The terminal's other screen, to draw on while something goes on; the first one comes back untouched."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["Stage"]

_SIGNALLED: Final = 128
"""What a shell adds to a signal's number to tell that a process ended by it."""
Handler = Callable[[int, FrameType | None], Any] | int | None


class Stage:
    """What is shown replaces what was shown before, whatever became of the terminal's size meanwhile.

    A context manager. It leaves the terminal whole when its process is asked to end, too (SIGTERM), and while it is
    suspended (SIGTSTP, Ctrl-Z).

    Args:
        console: of a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._console = console
        self._before: dict[int, Handler] = {}

    def show(self, picture: RenderableType) -> None:
        """Draw it now."""
        self._live.update(picture, refresh=True)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name, handler in (("SIGTERM", _end), ("SIGTSTP", self._suspend)):
                number = getattr(signal, name, None)  # Windows has SIGTERM alone
                if number is not None:
                    self._before[number] = signal.signal(number, handler)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._console.set_alt_screen(enable=False)
        self._console.show_cursor(show=True)
        os.kill(os.getpid(), signal.SIGSTOP)  # goes on here when it is continued
        self._console.set_alt_screen(enable=True)
        self._console.show_cursor(show=False)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(_SIGNALLED + number)
