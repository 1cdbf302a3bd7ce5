"""``python -m service``."""

from __future__ import annotations

import argparse
import sys

from ranksearch.contracts.errors import RankSearchError
from service.command_line import add_options, read_data_dir, read_settings
from service.running import DataDirInUse, keep_token, lock_data_dir, log_as_set, serve
from service.upkeep.commands import COMMANDS, run

__all__ = ["main"]

_EPILOG = "Besides serving: python -m service backup | restore | doctor, each with --help."


def main(arguments: list[str] | None = None) -> int:
    """Run a service, or a command on its data. Returns the exit code: 0 after a signal, 1 when it could not start."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in COMMANDS:
        return run(words)
    parser = argparse.ArgumentParser(prog="python -m service", description="The ranksearch service.", epilog=_EPILOG)
    add_options(parser)
    given = parser.parse_args(words)
    try:
        data_dir = read_data_dir(given)
        with lock_data_dir(data_dir):
            settings = read_settings(given, token=lambda: keep_token(data_dir))
            log_as_set(settings)
            serve(settings)
    except (DataDirInUse, OSError, RankSearchError) as problem:
        sys.stderr.write(f"ranksearch service: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
