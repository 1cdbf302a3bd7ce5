"""``pause``, ``resume``, ``retry``, ``cancel``."""

from __future__ import annotations

from typing import Annotated

import typer

from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.contracts.studies import Study
from ranksearch.terminal.output import show, show_json
from ranksearch.terminal.tables import study_lines

__all__ = ["cancel", "pause", "resume", "retry"]


def pause(
    study: StudyArgument,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="For those who wonder why.")] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Start no further trial of a study; those that run are finished, and its timeout stands still."""
    with connect(url, token) as client:
        paused = client.studies.pause(find_study(client, study).id, reason)
    _show(paused, machine=json)


def resume(study: StudyArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Go on with a paused study."""
    with connect(url, token) as client:
        resumed = client.studies.resume(find_study(client, study).id)
    _show(resumed, machine=json)


def retry(study: StudyArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Do again what failed, trials or artifact; a paused study goes on, one that had ended runs again."""
    with connect(url, token) as client:
        retried = client.studies.retry(find_study(client, study).id)
    _show(retried, machine=json)


def cancel(study: StudyArgument, *, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Stop a study; what it found so far stays."""
    with connect(url, token) as client:
        cancelled = client.studies.cancel(find_study(client, study).id)
    _show(cancelled, machine=json)


def _show(study: Study, *, machine: bool) -> None:
    if machine:
        show_json(study)
    else:
        show("\n".join(study_lines(study)))
