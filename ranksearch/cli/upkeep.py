"""``doctor``, ``backup`` and ``restore``: looking after a set-up.

What concerns a service's data runs as ``python -m service``, what concerns a worker's machine as ``python -m worker``:
this package imports neither.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError
from rich.table import Table

from ranksearch.cli.exit_codes import ExitCode
from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.client.address import data_directory
from ranksearch.contracts.checkups import Check, Checkup, fail
from ranksearch.contracts.errors import RankSearchError
from ranksearch.local import check_service, check_worker, module_environment
from ranksearch.terminal.output import printable, say, show, show_json, table

__all__ = ["backup", "doctor", "restore"]

_MARKS: Final = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The service's; else RANKSEARCH_HOME, else .ranksearch here.")
]


def doctor(
    *,
    url: Url = None,
    token: Token = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Look at the data of a service on this machine instead.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", help="The same; better in RANKSEARCH_SERVICE_DATABASE_URL.", metavar="URL"),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Of a service's data: read every blob.")] = False,
    worker: Annotated[bool, typer.Option("--worker", help="Look at this machine as a worker's instead.")] = False,
    cache_dir: Annotated[Path | None, typer.Option("--cache-dir", help="The worker's.")] = None,
    json: Json = False,
) -> None:
    """Check a set-up, and say how to mend what is wrong. Status 1 where something does not work."""
    if worker:
        check_worker()
        checkup = _asked("worker", [] if cache_dir is None else ["--cache-dir", str(cache_dir)])
    elif data_dir is not None or database_url is not None or deep:
        check_service()
        words = ["--data-dir", str(data_dir or data_directory()), *(["--deep"] if deep else [])]
        checkup = _asked("service", [*words, *([] if database_url is None else ["--database-url", database_url])])
    else:
        checkup = _as_user(url, token)
    if json:
        show_json(checkup)
    else:
        show(_table(checkup.checks))
    if checkup.failed:
        raise typer.Exit(ExitCode.FAILED)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To be made.")],
    *,
    data_dir: DataDir = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy blobs even where they could be linked.")] = False,
    json: Json = False,
) -> None:
    """Copy the data of a service on this machine, which may run."""
    _run("backup", folder, data_dir, [*(["--copy"] if copy else []), *(["--json"] if json else [])])


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The back-up.")],
    *,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a service's data directory of a back-up; it must be empty."""
    _run("restore", folder, data_dir, ["--json"] if json else [])


def _run(command: str, folder: Path, data_dir: Path | None, words: list[str]) -> None:
    check_service()
    where = ["--data-dir", str(data_dir or data_directory())]
    sys.stdout.flush()
    done = subprocess.run(  # noqa: S603 - this distribution's own module
        [sys.executable, "-m", "service", command, str(folder), *where, *words],
        check=False,
        env=module_environment(),
    )
    if done.returncode:
        raise typer.Exit(ExitCode.FAILED)


def _as_user(url: str | None, token: str | None) -> Checkup:
    try:
        with connect(url, token) as client:
            return client.examine()
    except RankSearchError as error:  # there is no address, or no token that could be one
        return Checkup(checks=[fail("address", error.detail, error.mend or "give --url and --token")])


def _asked(module: str, words: list[str]) -> Checkup:
    done = subprocess.run(  # noqa: S603 - this distribution's own modules
        [sys.executable, "-m", module, "doctor", "--json", *words],
        stdout=subprocess.PIPE,
        check=False,
        env=module_environment(),
    )
    try:
        return Checkup.model_validate_json(done.stdout)
    except ValidationError:
        say(f"python -m {module} doctor ended with status {done.returncode}")
        raise typer.Exit(ExitCode.FAILED) from None


def _table(checks: list[Check]) -> Table:
    made = table("check", "", "what was found", "how to mend it")
    for check in checks:
        made.add_row(check.name, _MARKS[check.status], printable(check.what), printable(check.mend or ""))
    return made
