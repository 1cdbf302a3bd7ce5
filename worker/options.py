"""The command line of a worker."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from ranksearch.contracts.errors import AccessError, InputError
from worker.sandbox import add_sandbox_arguments
from worker.sizes import bytes_of

__all__ = ["labels_of", "parse", "token_of"]

_TOKEN_VARIABLE = "RANKSEARCH_TOKEN"  # noqa: S105 - the variable's name


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; ends the process where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="ranksearch worker",
        description="Serve evaluations to a ranksearch service. Without --url, to that of RANKSEARCH_URL; without"
        " either, to the local service of `ranksearch up`. SIGTERM or Ctrl-C hands back what is being done and ends;"
        " a second one ends at once.",
    )
    _add_service(parser)
    _add_work(parser)
    _add_files(parser)
    add_sandbox_arguments(parser)
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--log-format", default="text", choices=["text", "json"], help="key=value, or one JSON object a line"
    )
    return parser.parse_args(arguments)


def token_of(options: argparse.Namespace) -> str | None:
    """The token that was given: on the command line, else in a file, else in the environment.

    Raises:
        AccessError: its file cannot be read, or is empty.
    """
    if options.token:
        return str(options.token)
    if options.token_file is None:
        return os.environ.get(_TOKEN_VARIABLE) or None
    try:
        token = str(options.token_file.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(
            "token_missing", "the token's file cannot be read", got=str(error), expected="a file with the token alone"
        ) from error
    if not token:
        raise AccessError("token_missing", "the token's file is empty", got=str(options.token_file))
    return token


def labels_of(options: argparse.Namespace) -> dict[str, str]:
    """Name → value of the labels.

    Raises:
        InputError: one is none.
    """
    labels = {}
    for label in options.label:
        name, equals, value = label.partition("=")
        if not (name.strip() and equals):
            raise InputError("invalid_request", "this is no label", got=f"--label {label}", expected="NAME=VALUE")
        labels[name.strip()] = value.strip()
    return labels


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of the service; else RANKSEARCH_URL")
    parser.add_argument(
        "--token",
        help=f"for the service. Everybody on this machine sees it in `ps`: better in the variable {_TOKEN_VARIABLE},"
        " or in a file",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="that holds the token, such as a mounted secret"
    )
    parser.add_argument("--name", default=socket.gethostname(), help="shown to users (default: the host's name)")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what studies may require, such as site=berlin; may be repeated",
    )
    parser.add_argument(
        "--exit-when-drained",
        action="store_true",
        help="end with status 0 once drained and idle, instead of waiting to be undrained",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--devices",
        "--device",
        default="auto",
        metavar="DEVICES",
        help="torch devices, separated by commas: each evaluates by itself, as a worker of its own in the list;"
        " auto: every GPU, the CPU where there is none; best: the first of these (default: auto)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads of an evaluation (default: torch's own choice; with several devices, their share)",
    )
    parser.add_argument(
        "--time-limit", type=float, default=3600.0, help="seconds one evaluation may take (default: %(default)g)"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranksearch",
        help="blobs and factors are kept here; workers may share it (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-size",
        type=_size,
        default="20GiB",
        metavar="SIZE",
        help="of the blobs; the least recently used go first, none that is in use (default: %(default)s)",
    )
    parser.add_argument(
        "--factor-cache-size", type=_size, default="5GiB", metavar="SIZE", help="of the factors (default: %(default)s)"
    )


def _size(text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
