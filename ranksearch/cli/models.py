"""``ranksearch models``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from ranksearch.cli.deletion import Yes, delete_document
from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.contracts.model_summaries import summarise_model
from ranksearch.contracts.wording import count
from ranksearch.terminal.output import on_terminal, say, show, show_json, waiting
from ranksearch.terminal.tables import models_table

__all__ = ["app", "pack_onnx"]

app = typer.Typer(help="List models, upload one, have one inspected again, or delete one.")


@app.callback(invoke_without_command=True)
def models(context: typer.Context, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List models, upload one, have one inspected again, or delete one."""
    if context.invoked_subcommand is not None:
        return
    with connect(url, token) as client:
        found = list(client.models.list())
    if json:
        show_json(found)
    elif found:
        show(models_table(found))
    else:
        say("no models yet: ranksearch models upload FILE")


@app.command()
def upload(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A model document, as ranksearch.pack writes it, or an ONNX file.")
    ],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Without one, the file's.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until a worker has inspected it.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Upload a model document or an ONNX file; a worker inspects it by itself."""
    with connect(url, token) as client:
        model = client.models.upload(file, name, progress=on_terminal() and not json)
        if wait:
            model = client.models.wait(model.id)
    if json:
        show_json(model)
    else:
        show(models_table([model]))


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its id.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Until a worker has done it.")] = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Have a model inspected again, such as for latencies that an older worker did not measure."""
    with connect(url, token) as client:
        found = client.models.inspect(model)
        if wait:
            found = client.models.wait(found.id)
    if json:
        show_json(found)
    else:
        show(models_table([found]))


@app.command()
def delete(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its id.")],
    *,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Delete a model that no study needs."""
    with connect(url, token) as client:
        delete_document(client.models, model, "model", yes=yes, machine=json)


def pack_onnx(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX file, with its weights in it.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Without one: FILE's name with .safetensors, here.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare the document's outputs with ONNX Runtime's.")
    ] = True,
    json: Json = False,
) -> None:
    """Make a model document from an ONNX file, here; a service does the same with one that is uploaded."""
    target = output or Path(f"{source.name.removesuffix('.onnx')}.safetensors")
    with waiting(f"translating {source.name}", shown=on_terminal() and not json):
        # imported by name: it imports torch, which the other commands must not even by a detour
        packed = Path(importlib.import_module("ranksearch").pack_onnx(source, target, verify=verify))
    summary = summarise_model(packed)
    if json:
        show_json({"path": str(packed), "summary": summary.model_dump(mode="json")})
    else:
        shapes = ", ".join("×".join(map(str, spec.shape)) for spec in summary.inputs)
        show(f"{packed}: {count(summary.params)} parameters, input {shapes}")
