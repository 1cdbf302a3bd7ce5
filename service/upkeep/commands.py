"""``python -m service backup | restore | doctor``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ranksearch.contracts.errors import RankSearchError, UnavailableError
from service.command_line import add_options, read_data_dir, read_settings
from service.settings import Settings
from service.storage.blobs import storage_full
from service.upkeep.backup import back_up
from service.upkeep.examination import examine
from service.upkeep.manifest import Manifest
from service.upkeep.restore import restore

__all__ = ["COMMANDS", "run"]

_STORES: Final = frozenset({"data_dir", "database_url", "blobs_url"})


def run(words: Sequence[str]) -> int:
    """Run the command that ``words`` begin with; the exit status."""
    given = _parser().parse_args(words)
    try:
        return COMMANDS[given.command](given)
    except RankSearchError as error:
        return _refused(error, machine=given.json)
    except OSError as error:
        problem = storage_full(error) or UnavailableError("storage_unavailable", str(error))
        return _refused(problem, machine=given.json)


def _back_up(given: argparse.Namespace) -> int:
    target = given.folder.absolute()
    _tell("backed up to", target, back_up(_settings(given), target, link=not given.copy), machine=given.json)
    return 0


def _restore(given: argparse.Namespace) -> int:
    data_dir = read_data_dir(given)
    _tell("restored to", data_dir, restore(given.folder, data_dir), machine=given.json)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    checkup = examine(_settings(given), deep=given.deep)
    if given.json:
        sys.stdout.write(checkup.model_dump_json() + "\n")
    else:
        for check in checkup.checks:
            mend = f" – {check.mend}" if check.mend else ""
            sys.stdout.write(f"{check.status:<5} {check.name}: {check.what}{mend}\n")
    return int(checkup.failed)


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "backup": _back_up,
    "restore": _restore,
    "doctor": _doctor,
}


def _settings(given: argparse.Namespace) -> Settings:
    return read_settings(given, token=lambda: "none is needed here")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service")
    commands = parser.add_subparsers(dest="command", required=True)
    backup = commands.add_parser("backup", help="copy the data of a service, which may run, to a folder")
    backup.add_argument("folder", type=Path, help="to be made")
    backup.add_argument("--copy", action="store_true", help="copy blobs even where they could be linked")
    restoring = commands.add_parser("restore", help="make a data directory of a back-up")
    restoring.add_argument("folder", type=Path, help="the back-up")
    examining = commands.add_parser("doctor", help="look at a service's data, and say how to mend what is wrong")
    examining.add_argument("--deep", action="store_true", help="read and hash every blob")
    for one in (backup, restoring, examining):
        add_options(one, only=frozenset({"data_dir"}) if one is restoring else _STORES)
        one.add_argument("--json", action="store_true", help="JSON on stdout; errors as JSON on stderr")
    return parser


def _tell(what: str, where: Path, manifest: Manifest, *, machine: bool) -> None:
    told = {
        "folder": str(where),
        "studies": manifest.studies,
        "blobs": len(manifest.blobs),
        "bytes": manifest.bytes,
        "revision": manifest.revision,
        "version": manifest.version,
    }
    words = f"{what} {where}: {manifest.studies} studies, {len(manifest.blobs)} blobs, {manifest.bytes:,} bytes"
    sys.stdout.write((json.dumps(told) if machine else words) + "\n")


def _refused(error: RankSearchError, *, machine: bool) -> int:
    sys.stderr.write((json.dumps(error.to_problem()) if machine else f"error: {error}") + "\n")
    return 1
