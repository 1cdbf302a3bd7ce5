"""``ranksearch datasets`` and ``ranksearch pack-data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.cli.output import on_terminal, say, show, show_json
from ranksearch.cli.tables import datasets_table

__all__ = ["app", "pack_data"]

app = typer.Typer(help="List data sets, or upload one.")


@app.callback(invoke_without_command=True)
def datasets(context: typer.Context, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List data sets, or upload one."""
    if context.invoked_subcommand is not None:
        return
    with connect(url, token) as client:
        found = list(client.datasets.list())
    if json:
        show_json(found)
    elif found:
        show(datasets_table(found))
    else:
        say("no data sets yet: ranksearch datasets upload FILE")


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data set document; see ranksearch pack-data.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Without one, the file's.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Upload a data set document."""
    with connect(url, token) as client:
        dataset = client.datasets.upload(file, name, progress=on_terminal() and not json)
    if json:
        show_json(dataset)
    else:
        show(datasets_table([dataset]))


def pack_data() -> None:
    """Make a data set document from an image folder or an npz file."""
