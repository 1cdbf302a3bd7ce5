"""``python -m service``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from service.running import DataDirInUse, keep_token, lock_data_dir, serve
from service.settings import Settings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run a service. Returns the exit code: 0 after a signal, 1 when it could not start."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    data_dir = given.data_dir.absolute()
    try:
        with lock_data_dir(data_dir):
            settings = Settings(
                data_dir=data_dir,
                token=keep_token(data_dir),
                database_url=given.database_url,
                lease_seconds=given.lease_seconds,
                max_upload_bytes=given.max_upload_bytes,
                keep_alive_seconds=given.keep_alive_seconds,
            )
            serve(settings, given.host, given.port)
    except (DataDirInUse, OSError) as problem:
        sys.stderr.write(f"ranksearch service: {problem}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="The ranksearch service.")
    parser.add_argument("--data-dir", type=Path, required=True, help="database, blobs, token and service.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one; service.json says which")
    parser.add_argument("--database-url", help="SQLAlchemy URL; default: an SQLite file in the data directory")
    parser.add_argument("--lease-seconds", type=float, default=60)
    parser.add_argument("--max-upload-bytes", type=int, default=Settings.model_fields["max_upload_bytes"].default)
    parser.add_argument("--keep-alive-seconds", type=float, default=15, help="between comments on a quiet stream")
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", choices=levels, default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
