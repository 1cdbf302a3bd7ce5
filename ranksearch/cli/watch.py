from __future__ import annotations

import time
from typing import Annotated, Final

import typer
from rich.console import Console

from ranksearch.cli.ending import end_with
from ranksearch.cli.finetune import follow_to_end
from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.client import Client
from ranksearch.client.events import RESTING_STATES
from ranksearch.client.study_bar import headline
from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.studies import Study
from ranksearch.terminal.output import json_line, printable, results, say, show
from ranksearch.terminal.stage import Stage
from ranksearch.terminal.study_follower import StudyFollower
from ranksearch.terminal.study_picture import StudyPicture

__all__ = ["drawn_on", "lines", "picture", "watch"]

_ASK_EVERY: Final = 1.0
_DRAW_EVERY: Final = 0.25


def watch(
    study: StudyArgument,
    *,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds after which to stop watching.", min=0)
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Follow a study until it ends or is paused: how far it is, what it has found, who is at work, why nothing moves.

    In a terminal: a picture that is drawn anew as trials end, the last one of which stays. Elsewhere: a line whenever
    something is worth telling. With --json: one event a line, from the study's beginning.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    drawn = not json and drawn_on(results())
    with connect(url, token) as client:
        found = find_study(client, study)
        if json:
            for event in client.studies.events(found.id):
                json_line(event)
                if event.kind == "study" and event.data.get("state") == "paused" and _paused_now(client, found.id):
                    break
                _check(found, deadline)
        elif drawn:
            picture(client, found.id, deadline)
        else:
            lines(client, found.id, deadline)
        found = client.studies.get(found.id)
        if not json and found.state == "completed":
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = follow_to_end(client, found, machine=False, timeout=left)
        best_url = client.study(found.id).url
    end_with(found, best_url=best_url, machine=json, result=False, shown=drawn)


def lines(client: Client, study: str, deadline: float | None = None) -> None:
    """A line whenever something is worth telling, until the study has ended or is paused: for logs."""
    told = ""
    while True:
        latest = client.studies.get(study)
        words = headline(latest)
        if words != told:
            show(printable(f"{latest.progress.finished}/{latest.progress.n_trials} trials, {words}"))
            told = words
        if latest.state in RESTING_STATES:
            return
        _check(latest, deadline)
        time.sleep(_ASK_EVERY)


def drawn_on(console: Console) -> bool:
    """Whether it is a terminal that can show pictures."""
    return console.is_terminal and not console.is_dumb_terminal


def picture(client: Client, study: str, deadline: float | None = None) -> None:
    """A picture that is drawn anew as things happen, until the study has ended or is paused.

    However that ends, the last one stays in the scrollback.
    """
    with StudyFollower(client, client.studies.get(study)) as follower:
        try:
            _drawn(follower, deadline)
        except KeyboardInterrupt:
            say(f"the study goes on: ranksearch watch {study}")
            raise


def _drawn(follower: StudyFollower, deadline: float | None) -> None:
    try:
        with Stage(results()) as stage:
            while not follower.wait(_DRAW_EVERY):
                stage.show(StudyPicture(follower.sight()))
                _check(follower.study, deadline)
    finally:
        show(StudyPicture(follower.sight(), still=True))


def _paused_now(client: Client, study: str) -> bool:
    """Whether it is paused now, too, and not only was when it was told."""
    return client.studies.get(study).state == "paused"


def _check(study: Study, deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise UnavailableError(
            "wait_timeout",
            f"study {study.id} has not ended yet",
            got=study.waiting_for or study.state,
            mend="it goes on by itself: watch again, or longer",
        )
