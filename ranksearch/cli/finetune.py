"""``finetune``."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from ranksearch.cli.exit_codes import ExitCode
from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.client import Client
from ranksearch.client.finetunes import ENDED
from ranksearch.client.submission import Submission
from ranksearch.contracts.finetuning import FineTune
from ranksearch.contracts.studies import Study
from ranksearch.terminal.finetune_table import FineTuneTable
from ranksearch.terminal.output import Once, on_terminal, results, say, show, show_json
from ranksearch.terminal.stage import Stage

__all__ = ["finetune", "follow_to_end"]

_RECIPE: Final = "How to train"


def finetune(
    study: StudyArgument,
    *,
    trials: Annotated[
        list[int] | None, typer.Option("--trial", help="This trial; may be repeated.", min=0, metavar="NUMBER")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", help="So many of the best trials. Without it or --trial: 3.", min=1)
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            "--training",
            help='Images to train on: "FILE_OR_ID[0:10000]". Without it: those of the calibration\'s data set that do '
            "not validate.",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option("--epochs", help="Passes over them. Without it: by their number.", rich_help_panel=_RECIPE),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="The highest of the cycle, likewise.", rich_help_panel=_RECIPE),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images a step. Without it: 128.", rich_help_panel=_RECIPE)
    ] = None,
    distillation: Annotated[
        float | None,
        typer.Option(
            "--distillation",
            help="0 to 1: the share of the dense network's answers in the loss; the rest are the labels.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    augmentation: Annotated[
        str | None, typer.Option("--augmentation", help="none, flip or flip_crop.", rich_help_panel=_RECIPE)
    ] = None,
    shown: Annotated[bool, typer.Option("--show", help="Ask for nothing: show those that were asked for.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop those that wait or run.")] = False,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Wait for the end.", show_default="watch on a terminal"),
    ] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait.", min=0)] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Train the networks of the best trials for a while, and take the best of them.

    What was trained is what pull writes, where that made it better. Ctrl-C ends the watching, not the training.
    """
    recipe = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "distillation": distillation,
        "augmentation": augmentation,
    }
    with connect(url, token) as client:
        found = find_study(client, study)
        if cancel:
            _cancel(client, found.id)
        elif not shown:
            given = {name: value for name, value in recipe.items() if value is not None}
            _ask(client, found.id, trials, top, training, given)
        waits = not cancel and (on_terminal() and not json and not shown if watch is None else watch)
        latest = (
            _follow(client, found.id, machine=json, timeout=timeout) if waits else [*client.finetunes.list(found.id)]
        )
        found = client.studies.get(found.id)
    _end(found, latest, machine=json)


def _follow(client: Client, study: str, *, machine: bool, timeout: float | None = None) -> list[FineTune]:
    """Show how the fine-tunings of a study go, until all of them have ended.

    Raises:
        UnavailableError: ``wait_timeout``.
    """
    console = results()
    if machine or not console.is_terminal or console.is_dumb_terminal:
        tell = Once()
        return client.finetunes.wait(
            study, timeout=timeout, seen=lambda latest: None if machine else tell(_in_words(latest))
        )
    with Stage(console) as stage:
        return client.finetunes.wait(study, timeout=timeout, seen=lambda latest: stage.show(FineTuneTable(latest)))


def follow_to_end(client: Client, study: Study, *, machine: bool, timeout: float | None = None) -> Study:
    """What is fine-tuned of a study whose search is complete, shown until it has ended; the study after that."""
    if study.tuning is None or study.tuning.ready + study.tuning.failed == study.tuning.asked:
        return study
    latest = _follow(client, study.id, machine=machine, timeout=timeout)
    study = client.studies.get(study.id)
    if not machine:
        show(FineTuneTable(latest, study.tuning))
    return study


def _ask(
    client: Client,
    study: str,
    trials: list[int] | None,
    top: int | None,
    training: str | None,
    recipe: dict[str, Any],
) -> None:
    submission = Submission(client.models, client.datasets, progress=on_terminal())
    images = None if training is None else submission.data_slice(training)
    asked = client.finetunes.ask(study, trials=trials, top=top, training=images, recipe=recipe)
    waits = [one for one in asked if one.state not in ENDED]
    if waits:
        say(f"trials {', '.join(str(one.trial) for one in waits)} are fine-tuned, {waits[0].steps} steps each")


def _cancel(client: Client, study: str) -> None:
    for one in client.finetunes.list(study):
        if one.state not in ENDED:
            client.finetunes.cancel(study, one.id)


def _in_words(latest: list[FineTune]) -> str:
    told = [
        f"trial {one.trial} {one.state}" + (f" {one.step}/{one.steps}" if one.state == "running" else "")
        for one in latest
    ]
    return ", ".join(told)


def _end(study: Study, latest: list[FineTune], *, machine: bool) -> None:
    if machine:
        show_json(latest)
    elif not latest:
        say(f"nothing of this study is fine-tuned yet: ranksearch finetune {study.id}")
    else:
        show(FineTuneTable(latest, study.tuning))
        if study.tuning is not None and study.tuning.chosen is not None:
            show(f"trial {study.tuning.chosen}, fine-tuned, is the best: ranksearch pull {study.id}")
        elif any(one.state == "ready" for one in latest):
            show(f"the best is the network as it was before: ranksearch pull {study.id}")
    if any(one.state == "failed" for one in latest):
        raise typer.Exit(ExitCode.FAILED)
