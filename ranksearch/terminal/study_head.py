"""The first lines of a study's picture: what it is after, how far it is, when it ends or why it does not move."""

from __future__ import annotations

import textwrap
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from ranksearch.contracts.studies import Study, StudyState
from ranksearch.contracts.wording import bounds, count, finalists_measured, goal, status
from ranksearch.terminal.characters import Characters
from ranksearch.terminal.columns import shortened
from ranksearch.terminal.output import printable
from ranksearch.terminal.tables import until

__all__ = ["study_head"]

_STYLES: Final[dict[StudyState, str]] = {
    "queued": "bold",
    "running": "bold cyan",
    "paused": "bold yellow",
    "completed": "bold green",
    "failed": "bold red",
    "cancelled": "bold yellow",
}
_LINES_OF_A_REASON: Final = 3
_SHORTEST_BAR: Final = 8
_LONGEST_BAR: Final = 40


def study_head(study: Study, width: int, characters: Characters) -> list[Text]:
    """Three lines, and one to three more where there is a reason to tell."""
    return [_name(study, width), _goal(study, width), _progress(study, width, characters), *_reason(study, width)]


def _name(study: Study, width: int) -> Text:
    room = width - len(study.state) - 2
    with_id = room - len(study.id) - 2
    name = printable(study.name)
    line = Text(shortened(name, with_id if cell_len(name) <= with_id else room), style="bold")
    if cell_len(name) <= with_id and name != study.id:
        line.append(f"  {study.id}", "not bold dim")
    line.append(" " * (width - cell_len(line.plain) - len(study.state)))
    line.append(study.state, _STYLES[study.state])
    return line


def _goal(study: Study, width: int) -> Text:
    """What it is after, within which budget, in its words and in numbers."""
    asked = bounds(study)
    limits = [f"{word} {count(limit)}" for word, limit in study.limits.items() if word != "latency_ms"]
    dense = {"macs": study.dense.macs, "params": study.dense.params}
    of_dense = [f"{word} {count(dense[word])}" for word in study.limits if word in dense] or [
        f"macs {count(study.dense.macs)}"
    ]
    words = goal(study.request, study.metric) + (f", {', '.join(asked)}" if asked else "")
    longer = f"{words} ({', '.join(limits)}; dense {', '.join(of_dense)})" if limits else words
    return Text(longer if cell_len(longer) <= width else shortened(words, width))


def _progress(study: Study, width: int, characters: Characters) -> Text:
    """A bar by what became of the trials, and their counts; the rarer ones go first where there is no room."""
    progress = study.progress
    ends = None if study.expected_at is None else f"ends in about {until(study.expected_at)}"
    told = [
        f"{progress.finished}/{progress.n_trials} trials",
        f"{progress.running} running" if progress.running else None,
        ends,
        f"{progress.failed} failed" if progress.failed else None,
        f"{progress.pruned} pruned" if progress.pruned else None,
        f"{progress.dropped} not needed" if progress.dropped else None,
    ]
    words = [word for word in told if word is not None]
    while len(words) > 1 and cell_len(", ".join(words)) + _SHORTEST_BAR + 1 > width:
        words.pop()
    text = shortened(", ".join(words), width)
    line = Text()
    room = width - cell_len(text) - 1
    if room >= _SHORTEST_BAR:
        line = _bar(study, min(room, _LONGEST_BAR), characters)
        line.append(" ")
    line.append(text)
    return line


def _bar(study: Study, width: int, characters: Characters) -> Text:
    progress = study.progress
    parts = [(progress.complete, "green"), (progress.pruned, "yellow"), (progress.failed, "red")]
    whole = max(1, progress.n_trials)
    line, until_now, drawn = Text(), 0, 0
    for number, style in parts:
        until_now += number
        end = round(width * until_now / whole)
        line.append(characters.full * (end - drawn), style)
        drawn = max(drawn, end)
    line.append(characters.empty * (width - drawn), "dim")
    return line


def _reason(study: Study, width: int) -> list[Text]:
    """Why nothing moves, or moves no more; nothing while trials are made."""
    if study.state == "running" and study.waiting_for is None and not finalists_measured(study):
        return []
    style = {"running": "yellow", "queued": "yellow", "paused": "yellow", "failed": "red"}.get(study.state, "")
    wrapped = textwrap.wrap(printable(status(study)), width, max_lines=_LINES_OF_A_REASON, placeholder=" …")
    return [Text(line, style=style) for line in wrapped]
