"""A study as a terminal shows it: what its page in the dashboard shows, as far as there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from ranksearch.client.events import FINAL_STATES
from ranksearch.contracts.resources import Worker
from ranksearch.contracts.studies import Best, Pareto, Study, Trial
from ranksearch.terminal.allotment import Section, allotted, beside
from ranksearch.terminal.at_work import at_work
from ranksearch.terminal.best_figures import best_figures
from ranksearch.terminal.best_ranks import best_ranks
from ranksearch.terminal.characters import Characters, characters_of
from ranksearch.terminal.columns import shortened
from ranksearch.terminal.front_table import front_table
from ranksearch.terminal.line_chart import course_chart, front_chart
from ranksearch.terminal.recent_trials import recent_trials
from ranksearch.terminal.search_course import Course
from ranksearch.terminal.study_head import study_head

__all__ = ["Sight", "StudyPicture"]

_LAST_TRIALS: Final = 3
"""Of a still picture."""
_LINES_AFTER: Final = 2
"""That are printed below a still picture, while it is to be seen as a whole: where the ranks are, and a prompt."""
_NECESSITY: Final = ("figures", "course", "trials", "workers", "ranks")
"""What is shown first where there is no room for everything."""
_WIDE: Final = 110
_FIGURES: Final = 56
"""Columns that the best trial's figures take beside something else, and the space after them."""
_BETWEEN: Final = 3
_ROOM_FOR_GAPS: Final = 6
"""Rows a section from which on there are empty lines between them."""


@dataclass(frozen=True)
class Sight:
    """What is known of a study at a moment.

    Args:
        study: itself.
        course: of its search; None: not asked for yet.
        best: its best trial; None: none, or the study seeks a front.
        front: of a study with several objectives.
        workers: that are on it; empty as well where the caller may not know.
        recent: the trials that changed last, the latest first.
        contact: what there is to say of the connection to the service.
    """

    study: Study
    course: Course | None = None
    best: Best | None = None
    front: Pareto | None = None
    workers: tuple[Worker, ...] = ()
    recent: tuple[Trial, ...] = ()
    contact: str | None = None


class StudyPicture:
    """Renders a sight within the width and the height of the console.

    Args:
        sight: what is known.
        still: whether it is to stay as it is, in the scrollback: what was going on is left out.
    """

    def __init__(self, sight: Sight, *, still: bool = False) -> None:
        self._sight = sight
        self._still = still

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines, none of them wider, and no more of them, than there is room."""
        characters = characters_of(console)
        width, height = options.max_width, options.height or options.size.height
        height -= _LINES_AFTER if self._still else 0
        for line in self._lines(width, height, characters):
            line.end = ""
            segments = [Segment(characters.spelled(text), style) for text, style, _ in line.render(console)]
            yield from Segment.adjust_line_length(segments, min(width, Segment.get_line_length(segments)))
            yield Segment.line()

    def _lines(self, width: int, height: int, characters: Characters) -> list[Text]:
        sight = self._sight
        head = study_head(sight.study, width, characters)
        if sight.contact is not None and not self._still:
            head.append(Text(shortened(sight.contact, width), style="bold yellow"))
        sections = self._sections(width, characters)
        order = sorted(sections, key=_NECESSITY.index)
        room = max(0, height - len(head))
        airy = room >= _ROOM_FOR_GAPS * len(sections)
        given = allotted(room - len(sections) * airy, [sections[name] for name in order])
        rows = dict(zip(order, given, strict=True))
        made = head
        for name, section in sections.items():
            if rows[name]:
                made += [Text()] * airy + section.draw(rows[name])
        return made[:height]

    def _sections(self, width: int, characters: Characters) -> dict[str, Section]:
        """By name, from the top of the picture."""
        sight, made = self._sight, dict[str, Section | None]()
        if len(sight.study.request.objectives) > 1:
            front = sight.front if sight.front is not None and sight.front.points else None
            made["course"] = None if front is None else front_chart(front, width, characters)
            made["figures"] = None if front is None else front_table(front, width)
        else:
            made |= self._of_the_best(width, characters)
        made["workers"] = at_work(sight.workers, width) if sight.workers and not self._still else None
        recent = sight.recent[:_LAST_TRIALS] if self._still else sight.recent
        made["trials"] = recent_trials(recent, sight.study.metric, width) if recent else None
        return {name: section for name, section in made.items() if section is not None}

    def _of_the_best(self, width: int, characters: Characters) -> dict[str, Section | None]:
        """Its figures and how the search came to it, beside each other where there is room, and its ranks."""
        best, over = self._sight.best, self._sight.study.state in FINAL_STATES
        both = width >= _WIDE and best is not None
        course = None
        if self._sight.course is not None:
            course = course_chart(self._sight.course, width - _FIGURES if both else width, characters, over=over)
        if best is None:
            return {"course": course}
        figures = best_figures(self._sight.study, best, _FIGURES - _BETWEEN if both else width)
        ranks = best_ranks(best, width, characters)
        if both and course is not None:
            return {"figures": beside(figures, course, _FIGURES), "ranks": ranks}
        return {"figures": figures, "course": course, "ranks": ranks}
