"""``status``, ``best``, ``pareto``, ``pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.contracts.artifacts import ArtifactFormat
from ranksearch.contracts.wording import parity
from ranksearch.terminal.answers import best_summary, layers_table, pareto_table
from ranksearch.terminal.output import Once, on_terminal, say, show, show_json
from ranksearch.terminal.tables import studies_table, study_lines

__all__ = ["best", "pareto", "pull", "status"]

_TOLD = {"id", "trial", "tuned", "format", "blob", "parity", "macs", "params"}


def status(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help='An id, a name, the beginning of either, or "latest".')
    ] = None,
    *,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show one study, or list all of them."""
    with connect(url, token) as client:
        if study is not None:
            found = client.studies.get(find_study(client, study).id)
            if json:
                show_json(found)
            else:
                show("\n".join(study_lines(found)))
            return
        studies = list(client.studies.list())
    if json:
        show_json(studies)
    elif studies:
        show(studies_table(studies))
    else:
        say("no studies yet: ranksearch submit MODEL DATA")


def best(study: StudyArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show the best ranks so far, layer by layer, and what they keep and cost."""
    with connect(url, token) as client:
        of = find_study(client, study)
        found = client.studies.best(of.id)
    if json:
        show_json(found)
        return
    show(layers_table(found))
    show("\n" + "\n".join(best_summary(found)))
    if len(of.request.objectives) > 1:
        say(f"the best by {found.metric} alone; the whole front: ranksearch pareto {of.id}")


def pareto(study: StudyArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Show the front: the trials so far that no other beats in all of the study's objectives."""
    with connect(url, token) as client:
        found = client.studies.pareto(find_study(client, study).id)
    if json:
        show_json(found)
    elif found.points:
        show(pareto_table(found))
    else:
        say("no trial is on the front yet: ranksearch watch")


def pull(
    study: StudyArgument,
    *,
    trial: Annotated[int | None, typer.Option("--trial", help="Of this trial, instead of the best.", min=0)] = None,
    made_as: Annotated[
        ArtifactFormat, typer.Option("--format", help="A model document, a program of torch.export, or ONNX.")
    ] = "document",
    tuned: Annotated[
        bool | None,
        typer.Option(
            "--tuned/--untuned",
            help="Its fine-tuned network, or the one before.",
            show_default="of the best trial what is better, of another one untuned",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File or directory to write to; replaced if it exists. Without it, the file's name."
        ),
    ] = Path(),
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds to wait while it is being made.", min=0)
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Download a compressed network: made where it is not there yet, checked, and put in place when it is whole."""
    with connect(url, token) as client:
        found = find_study(client, study)
        wanted = client.study(found.id).artifact(trial, made_as, tuned=tuned)
        tell = Once()
        artifact = wanted.wait(
            timeout=timeout,
            seen=lambda latest: tell(f"{latest.name} is being made" if latest.state == "pending" else None),
        )
        path = client.artifacts.download(found.id, artifact, output, progress=on_terminal() and not json)
    if json:
        told = artifact.model_dump(mode="json", by_alias=True, include=_TOLD)
        show_json({"study": found.id, "artifact": artifact.name, "path": str(path), **told})
        return
    show(str(path))
    if artifact.parity is not None:
        say(parity(artifact.parity))
