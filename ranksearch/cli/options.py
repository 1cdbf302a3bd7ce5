"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ranksearch.client import Client

__all__ = ["MACHINE", "Json", "StudyArgument", "Token", "Url", "connect"]

MACHINE = "ranksearch.json"
"""Under this key a context remembers that JSON was asked for, so that errors are JSON as well."""


def _remember(context: typer.Context, value: bool) -> bool:  # noqa: FBT001 - typer's signature
    if value:
        context.meta[MACHINE] = True
    return value


Url = Annotated[
    str | None,
    typer.Option("--url", help="Of the service; else RANKSEARCH_URL, else the local one.", metavar="URL"),
]
Token = Annotated[
    str | None,
    typer.Option("--token", help="Better in RANKSEARCH_TOKEN: others see command lines.", metavar="TOKEN"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, messages on stderr.", callback=_remember)]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help='An id, a name, the beginning of either, or "latest".')
]


def connect(url: str | None, token: str | None) -> Client:
    """The client that a command's options ask for."""
    return Client(url, token)
