from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from ranksearch.cli.ending import end_with
from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.cli.watch import lines
from ranksearch.client import StudyHandle
from ranksearch.contracts.errors import BudgetInfeasible, RankSearchError
from ranksearch.contracts.studies import Study
from ranksearch.terminal.output import Once, on_terminal, say

__all__ = ["submit"]

_DEFAULT_MACS = "40%"


def submit(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model document, or the id of one uploaded.")],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A data set document, or the id of one uploaded. Its first images, at most 512 and at most half, "
            "calibrate; the rest validate.",
        ),
    ] = None,
    *,
    macs: Annotated[
        str | None,
        typer.Option("--macs", help=f'Upper bound, as "33%" or a number. Without a bound: {_DEFAULT_MACS}.'),
    ] = None,
    params: Annotated[str | None, typer.Option("--params", help="Upper bound, likewise.")] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help='Instead of DATA: "FILE_OR_ID[0:512]".')
    ] = None,
    validation: Annotated[str | None, typer.Option("--validation", help="And the images that validate.")] = None,
    n_trials: Annotated[int | None, typer.Option("--n-trials", help="Rank vectors to try.", min=1)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the search.", min=0)] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Among which the search chooses each layer's, in order of preference: cp3, tucker2, tucker2_cp3 "
            "and spatial_svd for convolutions, svd for 1×1 ones and linear layers. Without it: cp3,svd.",
        ),
    ] = None,
    keep_dense: Annotated[
        list[str] | None, typer.Option("--keep-dense", help="A layer that stays as it is; may be repeated.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="accuracy or kl; accuracy where there are labels.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Of the evaluations.", min=1)] = None,
    name: Annotated[str | None, typer.Option("--name", help="By which you will find it.")] = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Wait for the end.", show_default="watch on a terminal"),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Upload what is not there yet and search for the best ranks within a budget."""
    bars = on_terminal() and not json
    with connect(url, token) as client:
        tell = Once()
        try:
            handle = client.submit(
                model,
                data,
                calibration=calibration,
                validation=validation,
                budget=_bounds(macs, params),
                n_trials=n_trials,
                seed=seed,
                methods=None if methods is None else [method.strip() for method in methods.split(",")],  # type: ignore[misc]  # checked with the request
                keep_dense=keep_dense,
                metric=metric,  # type: ignore[arg-type]  # checked with the request
                batch_size=batch_size,
                name=name,
                progress=bars,
                seen=None if bars else lambda latest: tell(latest.waiting_for),
            )
        except BudgetInfeasible as error:
            raise _with_command(error, context) from error
        if not json:
            say(f"submitted {handle.id}\n  the best ranks, at any time: {handle.url}")
        waits = bars if watch is None else watch
        if waits and not bars and not json:
            lines(client, handle.id)
        study = _waited(handle, bars=bars) if waits else handle.status()
    end_with(study, best_url=handle.url, machine=json)


def _bounds(macs: str | None, params: str | None) -> dict[str, int | str]:
    given = {"macs": macs, "params": params}
    bounds = {word: int(bound) if bound.isdecimal() else bound for word, bound in given.items() if bound is not None}
    return bounds or {"macs": _DEFAULT_MACS}


def _waited(handle: StudyHandle, *, bars: bool) -> Study:
    try:
        return handle.wait(progress=bars)
    except RankSearchError:
        study = handle.status()
        if study.state != "failed":
            raise
        return study


def _with_command(error: BudgetInfeasible, context: typer.Context) -> BudgetInfeasible:
    """The same error, with the nearest command line that is feasible."""
    nearest = error.extra.get("nearest_feasible")
    if not isinstance(nearest, dict):
        return error
    command = _command_line(context, {word: nearest[word] for word in ("macs", "params") if word in nearest})
    mend = f"the nearest budget that can be met: {command}"
    return BudgetInfeasible(
        error.code, error.detail, got=error.got, expected=error.expected, mend=mend, **error.extra, command=command
    )


def _command_line(context: typer.Context, bounds: dict[str, Any]) -> str:
    """This command as it was given, with other bounds and without the token."""
    words = ["ranksearch", "submit"]
    parameters = {parameter.name: parameter for parameter in context.command.params}
    for name, parameter in parameters.items():
        value = context.params.get(str(name))
        if value is None or value is False or name in {"token", "macs", "params"}:
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
            words += option if each is True else [*option, str(each)]
    given = {word: context.params[word] for word in ("macs", "params") if context.params.get(word) is not None}
    for word, bound in {**given, **bounds}.items():
        words += [f"--{word}", str(bound)]
    return shlex.join(words)
