"""``ranksearch datasets`` and ``ranksearch pack-data``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ranksearch.cli.deletion import Yes, delete_document
from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.contracts.dataset_summaries import summarise_dataset
from ranksearch.contracts.shapes import sample_shapes
from ranksearch.terminal.output import on_terminal, say, show, show_json, waiting
from ranksearch.terminal.tables import datasets_table

__all__ = ["app", "pack_data"]

app = typer.Typer(help="List data sets, upload one, or delete one.")


@app.callback(invoke_without_command=True)
def datasets(context: typer.Context, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """List data sets, upload one, or delete one."""
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


@app.command()
def delete(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Its id.")],
    *,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Delete a data set that no study needs."""
    with connect(url, token) as client:
        delete_document(client.datasets, dataset, "data set", yes=yes, machine=json)


def pack_data(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A folder of images, one folder a class or none at all; or an npz file."),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Without one: SOURCE's name with .safetensors, here.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help='Of the images of a folder, such as "224" or "192x256".')
    ] = None,
    resize_shorter: Annotated[
        int | None,
        typer.Option("--resize-shorter", help="First scale a folder's images so that this fits.", min=1),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Take so many of a folder's images.", min=2)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the order of a folder's images.", min=0)] = None,
    mean: Annotated[
        list[str] | None,
        typer.Option(
            "--mean",
            help='Of the channels, such as "0.5,0.5,0.5"; of an --input "NAME=0.5,0.5,0.5". A folder: ImageNet\'s.',
        ),
    ] = None,
    std: Annotated[list[str] | None, typer.Option("--std", help="Likewise.")] = None,
    layout: Annotated[
        list[str] | None, typer.Option("--layout", help="NHWC or NCHW, of an npz file; likewise.")
    ] = None,
    images: Annotated[str | None, typer.Option("--images", help="The name of an npz file's images.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="Instead of --images, once for each input of the network, in order: the name of an npz file's array. "
            "Those with a mean and a std are images; others are taken as they are.",
        ),
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="The name of an npz file's labels.")] = None,
    json: Json = False,
) -> None:
    """Make a data set document from a folder of images or an npz file."""
    target = output or Path(f"{source.name.removesuffix('.npz')}.safetensors")
    told = {"mean": _by_name("mean", mean), "std": _by_name("std", std), "layout": _by_name("layout", layout)}
    statistics = {word: _numbers(word, told[word].get("")) for word in ("mean", "std")}
    _check_names(told, inputs)
    if source.suffix == ".npz":
        _refuse("an npz file", size=size, resize_shorter=resize_shorter, limit=limit, seed=seed)
        function, required = "pack_npz", {"mean", "std"}
        options: dict[str, Any] = {**statistics, "layout": told["layout"].get(""), "images": images, "labels": labels}
        if inputs:
            _refuse("--input", images=images)
            required, options = set(), {**_of_inputs(told), "images": inputs, "labels": labels}
    else:
        _refuse("a folder", layout=layout or None, images=images, labels=labels, input=inputs or None)
        function, required = "pack_image_folder", {"size"}
        shape = None if size is None else _size(size)
        options = {**statistics, "size": shape, "resize_shorter": resize_shorter, "limit": limit, "seed": seed}
    given = {name: value for name, value in options.items() if value is not None}
    if missing := required - set(given):
        raise typer.BadParameter(f"{source} needs {', '.join(f'--{name}' for name in sorted(missing))}")
    with waiting(f"packing {source.name}", shown=on_terminal() and not json):
        # imported by name: it imports torch, which the other commands must not even by a detour
        packed = Path(getattr(importlib.import_module("ranksearch"), function)(source, target, **given))
    summary = summarise_dataset(packed)
    if json:
        show_json({"path": str(packed), "summary": summary.model_dump(mode="json")})
    else:
        show(f"{packed}: {summary.count} images {sample_shapes(summary)}")


def _refuse(source: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"--{name.replace('_', '-')} does not go with {source}")


def _by_name(option: str, given: list[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` by the name; a value alone by the empty one."""
    found: dict[str, str] = {}
    for text in given or []:
        name, told, value = text.rpartition("=")
        if name in found:
            raise typer.BadParameter(f"--{option} is given twice{name and f' for {name}'}")
        if told and not name:
            raise typer.BadParameter(f'--{option} takes "NAME=VALUE", not {text!r}')
        found[name] = value
    return found


def _check_names(told: dict[str, dict[str, str]], inputs: list[str] | None) -> None:
    """What is told by name belongs to an input, and with inputs everything but the layout is told by name."""
    known = set(inputs or [])
    for option, values in told.items():
        if unknown := sorted(values.keys() - known - {""}):
            raise typer.BadParameter(f"--{option} names {', '.join(unknown)}, which no --input does")
        if known and "" in values and option != "layout":
            raise typer.BadParameter(f'with --input, --{option} takes "NAME=0.5,0.5,0.5"')
    if unpaired := sorted((told["mean"].keys() ^ told["std"].keys()) - {""}):
        raise typer.BadParameter(f"{', '.join(unpaired)} needs both --mean and --std, or neither")


def _of_inputs(told: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Mean, std and layout of inputs, by their names."""
    statistics = {word: {name: _numbers(word, text) for name, text in told[word].items()} for word in ("mean", "std")}
    whole = told["layout"].get("", "NHWC")
    return {**statistics, "layout": {name: told["layout"].get(name, whole) for name in told["mean"]}}


def _numbers(name: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f'--{name} takes numbers such as "0.5,0.5,0.5", not {text!r}') from None


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not height.isdecimal() or not (width or height).isdecimal():
        raise typer.BadParameter(f'--size takes "224" or "192x256", not {text!r}')
    return int(height), int(width or height)
