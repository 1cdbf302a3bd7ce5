"""The directories that an agent and its evaluating child share, and the one that the child stays out of."""

from __future__ import annotations

import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Workspace"]


class Workspace:
    """A temporary directory with two parts.

    Attributes:
        shared: the child's home, working directory and temporary files; each task has its output below.
        witness: a file in the agent's own part, by which the child finds out that it cannot read there.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ranksearch-", ignore_cleanup_errors=True)
        root = Path(self._directory.name).resolve()
        self.shared = root / "shared"
        self._own = root / "own"
        self.shared.mkdir(mode=0o700)
        self._own.mkdir(mode=0o700)
        self.witness = self._own / "witness"
        self.witness.write_text("only the agent reads this\n", "ascii")

    @contextmanager
    def output(self) -> Iterator[Path]:
        """A directory for one task's files, removed with them afterwards."""
        with tempfile.TemporaryDirectory(dir=self.shared, prefix="task-", ignore_cleanup_errors=True) as made:
            yield Path(made)

    @contextmanager
    def collected(self, made: Path) -> Iterator[Path]:
        """A file that the child made, out of its reach, for as long as the context lasts.

        It is moved before it is looked at: a link to somebody's secrets must not be followed, and nothing may be put
        in its place in between.

        Raises:
            OSError: it is not there, or no file of its own.
        """
        moved = self._own / secrets.token_hex(8)
        made.rename(moved)
        try:
            status = moved.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise OSError(f"what the evaluation made is no file of its own: {made.name}")
            yield moved
        finally:
            moved.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._directory.cleanup()
