"""A study's progress, and a model's inspection, as one line on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ranksearch.contracts.resources import Model
from ranksearch.contracts.studies import Study
from ranksearch.contracts.wording import best_so_far, dense_network, finalists_measured, stopped

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
    """A study in a few words: its state, the best so far, what became of trials, and why nothing moves."""
    progress = study.progress
    best, dense = best_so_far(study), dense_network(study)
    counts = {"pruned": progress.pruned, "failed": progress.failed, "not needed": progress.dropped}
    words: list[str | None] = [
        study.state,
        None if best is None else f"best {best}",
        None if dense is None else f"dense {dense}",
        *(f"{number} {word}" for word, number in counts.items() if number),
        stopped(study),
        "measuring the finalists on all images" if finalists_measured(study) else None,
        study.waiting_for,
    ]
    return ", ".join(word for word in words if word is not None)
