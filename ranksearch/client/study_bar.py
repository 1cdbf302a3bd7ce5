"""A study's progress, and a model's inspection, as one line on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ranksearch.contracts.resources import Model
from ranksearch.contracts.studies import Study

__all__ = ["headline", "inspection_spinner", "study_bar"]


@contextlib.contextmanager
def study_bar(*, shown: bool) -> Iterator[Callable[[Study], None]]:
    """Something to show a study to, as often as it changes."""
    if not shown:
        yield lambda study: None  # noqa: ARG005 - shown to nobody
        return
    from rich.console import Console  # noqa: PLC0415 - `import ranksearch` stays quick
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - the same

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("trials  {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(study: Study) -> None:
            progress = study.progress
            bar.update(task, completed=progress.finished, total=progress.n_trials, description=headline(study))

        yield show


@contextlib.contextmanager
def inspection_spinner(*, shown: bool) -> Iterator[Callable[[Model], None]]:
    """Something to show a model to while it is being inspected."""
    if not shown:
        yield lambda model: None  # noqa: ARG005 - shown to nobody
        return
    from rich.console import Console  # noqa: PLC0415 - `import ranksearch` stays quick
    from rich.markup import escape  # noqa: PLC0415 - the same

    with Console(stderr=True).status("inspecting the model") as status:
        yield lambda model: status.update(escape(model.waiting_for or f"inspecting {model.name}"))


def headline(study: Study) -> str:
    """A study in a few words: its state, the best so far, and why nothing moves."""
    words: list[str] = [study.state]
    if study.best_value is not None:
        words.append(f"best {study.metric} {study.best_value:.4f}")
    if study.dense_value is not None:
        words.append(f"dense {study.dense_value:.4f}")
    if study.progress.failed:
        words.append(f"{study.progress.failed} failed")
    if study.waiting_for is not None:
        words.append(study.waiting_for)
    return ", ".join(words)
