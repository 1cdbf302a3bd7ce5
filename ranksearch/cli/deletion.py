"""``delete``, and what all commands that delete have in common: they ask first."""

from __future__ import annotations

from typing import Annotated

import typer

from ranksearch.cli.options import Json, StudyArgument, Token, Url, connect
from ranksearch.cli.study_names import find_study
from ranksearch.client.documents import Datasets, Models
from ranksearch.terminal.output import printable, say, show_json

__all__ = ["Yes", "ask", "delete", "delete_document", "tell"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def ask(what: str, *, yes: bool) -> None:
    """Go on where the user agrees, or has agreed; nobody to ask counts as no."""
    if not yes:
        typer.confirm(printable(f"Delete {what}?"), abort=True, err=True)


def tell(deleted: str, *, machine: bool) -> None:
    """Say that it is done."""
    if machine:
        show_json({"deleted": deleted})
    else:
        say(f"deleted {deleted}")


def delete(study: StudyArgument, *, yes: Yes = False, url: Url = None, token: Token = None, json: Json = False) -> None:
    """Delete a study that has ended, with its trials and artifacts."""
    with connect(url, token) as client:
        found = find_study(client, study)
        ask(f"study {found.id} ({found.name}) with its {found.progress.n_trials} trials and its artifacts", yes=yes)
        client.studies.delete(found.id)
    tell(found.id, machine=json)


def delete_document(documents: Models | Datasets, document: str, kind: str, *, yes: bool, machine: bool) -> None:
    """Delete a model or a data set, once the user agrees.

    Args:
        documents: among which it is.
        document: its id.
        kind: what it is, for the question.
        yes: do not ask.
        machine: say in JSON that it is done.
    """
    found = documents.get(document)
    ask(f"{kind} {found.id} ({found.name})", yes=yes)
    documents.delete(found.id)
    tell(found.id, machine=machine)
