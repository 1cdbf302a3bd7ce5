"""Results on stdout, messages on stderr; with ``--json`` nothing but JSON on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table

from ranksearch.contracts.errors import RankSearchError

__all__ = [
    "Once",
    "as_json",
    "json_line",
    "on_terminal",
    "printable",
    "results",
    "say",
    "show",
    "show_error",
    "show_json",
    "table",
    "waiting",
]

_WIDE: Final = 1000
"""Columns where nobody looks: a pipe gets whole lines."""


def results() -> Console:
    """Where results go."""
    return _console(stderr=False)


def say(message: str) -> None:
    """A message, on stderr."""
    _console(stderr=True).print(printable(message), soft_wrap=True)


class Once:
    """Says a message when it is another one than before."""

    def __init__(self) -> None:
        self._said: str | None = None

    def __call__(self, message: str | None) -> None:
        """Say it, on stderr; None says nothing."""
        if message is not None and message != self._said:
            say(message)
            self._said = message


def on_terminal() -> bool:
    """Whether somebody watches stderr, so that a bar makes sense."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def waiting(message: str, *, shown: bool) -> Iterator[None]:
    """A sign of life on stderr while something takes its time."""
    if not shown:
        yield
        return
    with _console(stderr=True).status(printable(message)):
        yield


def show_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> None:
    """A result as JSON, on stdout."""
    print(as_json(value, indent=2))  # noqa: T201 - what was asked for


def json_line(value: BaseModel) -> None:
    """One result of a stream as one line of JSON, on stdout, at once."""
    print(as_json(value), flush=True)  # noqa: T201 - what was asked for


def as_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any], *, indent: int | None = None) -> str:
    """As the service writes it."""
    if isinstance(value, BaseModel):
        plain: Any = value.model_dump(mode="json", by_alias=True)
    elif isinstance(value, dict):
        plain = value
    else:
        plain = [item.model_dump(mode="json", by_alias=True) for item in value]
    return json.dumps(plain, indent=indent, ensure_ascii=False)


def show_error(error: RankSearchError, *, machine: bool) -> None:
    """What happened, what was got and expected, how to mend it; for machines the problem document. On stderr."""
    if machine:
        print(as_json(error.to_problem()), file=sys.stderr)  # noqa: T201 - the machine's
        return
    say(f"error: {error}")


def table(*columns: str, numbers: Iterable[str] = (), title: str | None = None) -> Table:
    """A table in this product's looks; the columns named in ``numbers`` are set flush right."""
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    right = set(numbers)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def printable(text: str) -> str:
    """Text of somebody else's, without what would steer the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def show(renderable: RenderableType) -> None:
    """A result for people, on stdout."""
    results().print(renderable)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)
