from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from ranksearch.cli.ending import end_with
from ranksearch.cli.finetune import follow_to_end
from ranksearch.cli.images_at_hand import as_document
from ranksearch.cli.options import Json, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.cli.submit_options import (
    BOUNDS,
    BatchSize,
    Finalists,
    FineTuneTop,
    FromStudy,
    KeepDense,
    LatencyMs,
    LevelName,
    Macs,
    MaxDrop,
    MaxParallel,
    Methods,
    MetricName,
    NTrials,
    Objectives,
    Params,
    Plateau,
    Priority,
    PrunerName,
    Require,
    SamplerName,
    SearchImagesPair,
    Seed,
    StudyTimeout,
    Target,
    WarmStarts,
    bounds,
    images,
    requirements,
    words,
)
from ranksearch.cli.watch import drawn_on, lines, picture
from ranksearch.client import Client, StudyHandle
from ranksearch.contracts.errors import BudgetInfeasible, RankSearchError
from ranksearch.contracts.studies import Study
from ranksearch.terminal.output import Once, on_terminal, results, say

__all__ = ["submit"]


def submit(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model document, an ONNX file, or the id of a model.")
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A data set document, an npz file of floats as the network takes them, or the id of one uploaded. "
            "Its first images, at most 1,024 and at most a "
            "third, calibrate; the rest validate.",
        ),
    ] = None,
    *,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help='Instead of DATA: "FILE_OR_ID[0:1024]".')
    ] = None,
    validation: Annotated[str | None, typer.Option("--validation", help="And the images that validate.")] = None,
    macs: Macs = None,
    params: Params = None,
    latency_ms: LatencyMs = None,
    max_drop: MaxDrop = None,
    objectives: Objectives = None,
    metric: MetricName = None,
    methods: Methods = None,
    keep_dense: KeepDense = None,
    level: LevelName = None,
    sampler: SamplerName = None,
    pruner: PrunerName = None,
    warm_starts: WarmStarts = None,
    from_study: FromStudy = None,
    search_images: SearchImagesPair = None,
    finalists: Finalists = None,
    finetune: FineTuneTop = None,
    seed: Seed = None,
    batch_size: BatchSize = None,
    n_trials: NTrials = None,
    timeout: StudyTimeout = None,
    plateau: Plateau = None,
    target: Target = None,
    priority: Priority = None,
    max_parallel: MaxParallel = None,
    require: Require = None,
    name: Annotated[str | None, typer.Option("--name", help="By which you will find it.")] = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Wait for the end.", show_default="watch on a terminal"),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Upload what is not there yet and search for the best ranks.

    For example: ranksearch submit model.safetensors images.safetensors --macs 40% --watch

    Within a budget (--macs, --params, --latency-ms): the best network.

    With --max-drop: the smallest network that loses no more than that.

    With several --objectives: a front, which ranksearch pareto shows.
    """
    bars = on_terminal() and not json
    members: dict[str, Any] = {  # checked with the request
        "budget": bounds(macs, params, latency_ms),
        "objectives": words(objectives),
        "max_drop": max_drop,
        "metric": metric,
        "methods": words(methods),
        "keep_dense": keep_dense,
        "level": level,
        "sampler": sampler,
        "pruner": pruner,
        "warm_starts": words(warm_starts),
        "search_images": images(search_images),
        "finalists": finalists,
        "finetune": finetune,
        "seed": seed,
        "batch_size": batch_size,
        "n_trials": n_trials,
        "study_timeout": timeout,
        "plateau": plateau,
        "target": target,
        "priority": priority,
        "max_parallel": max_parallel,
        "requirements": requirements(require),
        "name": name,
    }
    with as_document(data) as data, connect(url, token) as client:  # noqa: PLR1704 - the same images
        earlier = [find_study(client, study) for study in from_study or []]
        images_of = {"calibration": calibration, "validation": validation}
        handle = _submitted(client, context, model, data, **images_of, from_studies=earlier, bars=bars, **members)
        if not json:
            say(f"submitted {handle.id}\n  the best ranks, at any time: {handle.url}")
        waits = bars if watch is None else watch
        drawn = waits and not json and drawn_on(results())
        if drawn:
            picture(client, handle.id)
        elif waits and not bars and not json:
            lines(client, handle.id)
        study = _waited(handle, bars=bars) if waits else handle.status()
        if waits and study.state == "completed":
            study = follow_to_end(client, study, machine=json)
    end_with(study, best_url=handle.url, machine=json, shown=drawn)


def _submitted(
    client: Client,
    context: typer.Context,
    model: str,
    data: str | None,
    *,
    bars: bool,
    **members: Any,  # noqa: ANN401 - what Client.submit takes
) -> StudyHandle:
    tell = Once()
    seen = None if bars else lambda latest: tell(latest.waiting_for)
    try:
        return client.submit(model, data, progress=bars, seen=seen, **members)
    except BudgetInfeasible as error:
        raise _with_command(error, context) from error


def _waited(handle: StudyHandle, *, bars: bool) -> Study:
    try:
        return handle.wait(progress=bars)
    except RankSearchError:
        study = handle.status()
        if study.state not in {"failed", "paused"}:
            raise
        return study


def _with_command(error: BudgetInfeasible, context: typer.Context) -> BudgetInfeasible:
    """The same error, with the nearest command line that is feasible."""
    nearest = error.extra.get("nearest_feasible")
    if not isinstance(nearest, dict):
        return error
    command = _command_line(context, {word: nearest[word] for word in BOUNDS if word in nearest})
    mend = f"the nearest budget that can be met: {command}"
    return BudgetInfeasible(
        error.code, error.detail, got=error.got, expected=error.expected, mend=mend, **error.extra, command=command
    )


def _command_line(context: typer.Context, nearest: dict[str, Any]) -> str:
    """This command as it was given, with other bounds and without the token."""
    line = ["ranksearch", "submit"]
    parameters = {parameter.name: parameter for parameter in context.command.params}
    for name, parameter in parameters.items():
        value = context.params.get(str(name))
        if value is None or value is False or name == "token" or name in BOUNDS:
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
            line += option if each is True else [*option, str(each)]
    given = {word: context.params[word] for word in BOUNDS if context.params.get(word) is not None}
    for word, bound in {**given, **nearest}.items():
        line += [f"--{word.replace('_', '-')}", str(bound)]
    return shlex.join(line)
