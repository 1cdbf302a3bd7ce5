"""How a command ends that waited for a study."""

from __future__ import annotations

from typing import Final

import typer

from ranksearch.cli.exit_codes import ExitCode
from ranksearch.client.handle import study_error
from ranksearch.contracts.studies import Study
from ranksearch.terminal.output import show, show_error, show_json
from ranksearch.terminal.tables import study_lines

__all__ = ["end_with"]

_EXITS: Final = {"failed": ExitCode.FAILED, "cancelled": ExitCode.FAILED, "paused": ExitCode.PAUSED}


def end_with(study: Study, *, best_url: str, machine: bool, result: bool = True, shown: bool = False) -> None:
    """Show a study as it is now; one that failed or was cancelled ends the command with status 1, a paused one with 8.

    Args:
        study: to show.
        best_url: where its best ranks can be had.
        machine: JSON instead of lines.
        result: whether the study itself is the JSON that was asked for.
        shown: whether people see the study already.
    """
    if machine:
        if result:
            show_json(study)
    else:
        show("\n".join([*([] if shown else study_lines(study)), f"best ranks {best_url}"]))
    if study.state in {"failed", "paused"}:
        show_error(study_error(study), machine=machine)
    if study.state in _EXITS:
        raise typer.Exit(_EXITS[study.state])
