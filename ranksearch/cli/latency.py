"""``latency``."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.contracts.latency import LatencyComparison, LatencyRuntime
from ranksearch.terminal.latency_tables import latency_table, layer_latencies_table
from ranksearch.terminal.output import Once, show, show_json

__all__ = ["latency"]


def latency(
    study: StudyArgument,
    *,
    trial: Annotated[int | None, typer.Option("--trial", help="Of this trial, instead of the best.", min=0)] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", help="Images a pass; may be repeated. Without it: 1 and 32.", metavar="NUMBER"),
    ] = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            help="What runs them: torch, torch_compile, onnxruntime; may be repeated. Without it: all of them.",
            metavar="NAME",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what was measured already.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait for it.", min=0)] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Time the compressed network beside the dense one on a worker: how much faster it is, if it is, and which layers.

    What was measured before with the same settings is shown at once.
    """
    with connect(url, token) as client:
        found = find_study(client, study)
        wanted = cast("list[LatencyRuntime] | None", runtimes)  # which it is, the client checks
        asked = client.latencies.measure(found.id, trial, batches=batches, runtimes=wanted, again=again)
        tell = Once()
        told = client.latencies.wait(found.id, asked.id, timeout=timeout, seen=lambda latest: tell(_stage(latest)))
    if json:
        show_json(told)
        return
    assert told.report is not None  # noqa: S101 - what was waited for
    show(latency_table(told.report))
    if told.report.layers:
        show("")
        show(layer_latencies_table(told.report))
    show(f"\ntrial {told.trial}: {told.verdict}")


def _stage(latest: LatencyComparison) -> str | None:
    if latest.state != "pending":
        return None
    return f"trial {latest.trial} is being timed beside the dense network; that takes a minute or so"
