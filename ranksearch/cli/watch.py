from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ranksearch.cli.ending import end_with
from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.client import Client
from ranksearch.client.events import RESTING_STATES
from ranksearch.client.study_bar import headline
from ranksearch.contracts.errors import RankSearchError, UnavailableError
from ranksearch.contracts.studies import Study, Trial
from ranksearch.terminal.output import json_line, printable, results, show
from ranksearch.terminal.tables import trials_table

__all__ = ["lines", "watch"]

_RECENT: Final = 8
_ASK_EVERY: Final = 1.0


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
    """Follow a study until it ends or is paused: how far it is, the best so far, recent trials, why nothing moves.

    With --json: one event a line, from the study's beginning.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with connect(url, token) as client:
        found = find_study(client, study)
        if json:
            for event in client.studies.events(found.id):
                json_line(event)
                if event.kind == "study" and event.data.get("state") == "paused" and _paused_now(client, found.id):
                    break
                _check(found, deadline)
        elif results().is_terminal:
            _live(client, found, deadline)
        else:
            lines(client, found.id, deadline)
        found = client.studies.get(found.id)
        best_url = client.study(found.id).url
    end_with(found, best_url=best_url, machine=json, result=False)


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


def _live(client: Client, study: Study, deadline: float | None) -> None:
    """A picture that is drawn anew as trials end."""
    recent: dict[int, Trial] = {}
    trials = _Trials(client, study.id)
    with Live(console=results(), refresh_per_second=4, transient=True) as live:
        while True:
            study = client.studies.get(study.id)
            for trial in trials.within(_ASK_EVERY):
                recent.pop(trial.number, None)
                recent[trial.number] = trial
            for number in list(recent)[:-_RECENT]:
                del recent[number]
            live.update(_picture(study, list(recent.values())))
            if study.state in RESTING_STATES:
                return
            _check(study, deadline)


class _Trials:
    """A study's trials as they change, read by a thread of their own."""

    def __init__(self, client: Client, study: str) -> None:
        self._told: queue.SimpleQueue[Trial | RankSearchError] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(client, study), daemon=True).start()

    def within(self, seconds: float) -> Iterator[Trial]:
        """What is told in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                told = self._told.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(told, RankSearchError):
                raise told
            yield told

    def _read(self, client: Client, study: str) -> None:
        try:
            for event in client.studies.events(study):
                if event.kind == "trial":
                    self._told.put(Trial.model_validate(event.data))
        except RankSearchError as error:
            self._told.put(error)
        except RuntimeError:
            return  # the client was closed: nobody watches any more


def _picture(study: Study, recent: list[Trial]) -> RenderableType:
    progress = study.progress
    head = Table.grid(padding=(0, 1))
    head.add_row(
        ProgressBar(total=progress.n_trials, completed=progress.finished, width=40),
        Text(f"{progress.finished}/{progress.n_trials} trials, {progress.running} running"),
    )
    return Group(
        Text(printable(f"{study.name}  {study.id}"), style="bold"),
        head,
        Text(printable(headline(study))),
        Text(""),
        trials_table(reversed(recent), study.metric),
    )


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
