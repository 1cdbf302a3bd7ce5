"""The sandbox on the command line of a worker."""

from __future__ import annotations

import argparse
from pathlib import Path

from worker.sandbox.options import SandboxOptions
from worker.sizes import bytes_of

__all__ = ["add_sandbox_arguments", "sandbox_options"]


def add_sandbox_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide how evaluations are confined."""
    group = parser.add_argument_group("confinement of the evaluating process (docs/sandbox.md)")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--require-sandbox", action="store_true", help="refuse to work where a measure is not in force")
    either.add_argument("--no-sandbox", action="store_true", help="do not confine it: for models you trust only")
    group.add_argument(
        "--memory-limit",
        type=_size,
        metavar="SIZE",
        help="main memory it may take, such as 24G (default: nine tenths of the machine's or the container's)",
    )
    group.add_argument(
        "--allow-read",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="what it may read besides Python, its libraries and its job's files; may be given several times",
    )


def sandbox_options(parsed: argparse.Namespace) -> SandboxOptions:
    """What was asked for."""
    return SandboxOptions(
        enabled=not parsed.no_sandbox,
        required=parsed.require_sandbox,
        memory_bytes=parsed.memory_limit,
        reads=tuple(path.absolute() for path in parsed.allow_read),
    )


def _size(text: str) -> int:
    try:
        size = bytes_of(text)
    except ValueError:
        size = 0
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write a number with K, M, G or T, such as 24G")
    return size
