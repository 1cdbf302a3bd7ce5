"""Progress of bytes on their way: a callback of the caller's, a bar on stderr, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["Meter", "Progress", "metered", "silent"]

Meter = Callable[[int, int], None]
"""Called with the bytes done so far and their total."""

Progress = bool | Meter
"""False: silent. True: a bar on stderr, if that is a terminal. A callable: it is called."""


@contextlib.contextmanager
def metered(progress: Progress, label: str) -> Iterator[Meter]:
    """The meter that a progress argument asks for, for as long as the transfer takes."""
    if callable(progress):
        yield progress
        return
    if not progress:
        yield silent
        return
    from rich.console import Console  # noqa: PLC0415 - `import ranksearch` stays quick
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn  # noqa: PLC0415 - the same
    from rich.progress import Progress as Bars  # noqa: PLC0415 - the same

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def silent(done: int, total: int) -> None:
    """The meter of who does not look."""
    del done, total
