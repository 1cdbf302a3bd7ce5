"""What the exit status of a command tells a script."""

from __future__ import annotations

from enum import IntEnum

from ranksearch.contracts.errors import (
    AccessError,
    InputError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
    UploadError,
)

__all__ = ["ExitCode", "exit_code"]


class ExitCode(IntEnum):
    """Stable; 2 is the command line parser's own."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    BAD_INPUT = 5
    NO_ACCESS = 6
    TIMEOUT = 7
    PAUSED = 8
    INTERRUPTED = 130


_OF_CLASS: list[tuple[type[RankSearchError], ExitCode]] = [
    (InputError, ExitCode.BAD_INPUT),
    (UploadError, ExitCode.BAD_INPUT),
    (AccessError, ExitCode.NO_ACCESS),
    (NotFoundError, ExitCode.NOT_FOUND),
    (UnavailableError, ExitCode.UNREACHABLE),
]


def exit_code(error: RankSearchError) -> ExitCode:
    """The exit status for an error."""
    if error.code == "wait_timeout":
        return ExitCode.TIMEOUT
    if error.code == "study_paused":
        return ExitCode.PAUSED
    if error.code in {"storage_full", "quota_exceeded", "extra_missing"}:
        return ExitCode.FAILED
    return next((code for kind, code in _OF_CLASS if isinstance(error, kind)), ExitCode.FAILED)
