"""Keeping a sight of a study up to date while somebody looks at it, across restarts of the service."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from ranksearch.client import Client
from ranksearch.client.events import FINAL_STATES, RESTING_STATES
from ranksearch.contracts.errors import AccessError, NotFoundError, UnavailableError
from ranksearch.contracts.resources import Worker
from ranksearch.contracts.studies import Best, Event, Pareto, Study, Trial
from ranksearch.contracts.wording import duration
from ranksearch.terminal.search_course import SearchCourse
from ranksearch.terminal.study_picture import Sight

__all__ = ["StudyFollower"]

Answer = TypeVar("Answer")

_ASK_EVERY: Final = 1.0
_LOOK_AGAIN: Final = 4.0
"""Seconds between two looks at who is at work, and at a front, where nothing has begun meanwhile."""
_SILENCE: Final = 3.0
"""Seconds without an answer that are worth a word."""
_MENTIONED: Final = 10.0
"""Seconds for which it is told that the service was away."""
_PAUSE: Final = 1.0
_PASSES: Final = frozenset({"service_unreachable", "service_busy", "service_not_ready", "storage_unavailable"})
"""What a service says, or is silent about, that may be otherwise a moment later."""
_RECENT: Final = 8
_POINTS: Final = 400
"""Trials of the history that are wanted besides those that were better than all before, which come anyway."""


class StudyFollower:
    """Asks in two threads of its own, one of which reads the events. A context manager.

    A service that is away is asked again, for as long as it takes. What it refuses for good (the study was deleted, the
    token opens nothing any more) is raised by :meth:`wait`.

    Args:
        client: may be closed once the block has ended.
        study: as it was a moment ago.
    """

    def __init__(self, client: Client, study: Study) -> None:
        self._client = client
        self._study = study
        self._course: SearchCourse | None = None
        self._early: list[Event] = []
        """What was heard before there was a course."""
        self._best: Best | None = None
        self._front: Pareto | None = None
        self._workers: tuple[Worker, ...] = ()
        self._recent: dict[int, Trial] = {}
        """The one that changed last is the last one."""
        self._heard = study.last_event
        self._trials_ended = -1
        self._began = False
        """Whether a trial has begun since it was looked who is at work."""
        self._asked_since: float | None = None
        self._away_since: float | None = None
        self._back: tuple[float, float] | None = None
        """When the service answered again, and for how long it had not."""
        self._failure: Exception | None = None
        self._complete = False
        self._over = threading.Event()
        self._news = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        for read in (self._ask, self._listen):
            threading.Thread(target=self._until_over, args=(read,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()

    @property
    def study(self) -> Study:
        """As it was last seen."""
        return self._study

    def sight(self) -> Sight:
        """What is known now."""
        with self._lock:
            return Sight(
                study=self._study,
                course=None if self._course is None else self._course.now(),
                best=self._best,
                front=self._front,
                workers=self._workers,
                recent=tuple(reversed(self._recent.values())),
                contact=self._contact(),
            )

    def wait(self, seconds: float) -> bool:
        """Until something is new, or for so long. Returns whether the study rests, and all of it is known.

        Raises:
            RankSearchError: the service refuses to answer.
        """
        self._news.wait(seconds)
        self._news.clear()
        if self._failure is not None:
            raise self._failure
        return self._complete

    def _contact(self) -> str | None:
        now, since = time.monotonic(), self._away_since or self._asked_since
        if since is not None and now - since > _SILENCE:
            return f"no answer from {self._client.url} for {duration(now - since)}; asking again"
        if self._back is not None and now - self._back[0] < _MENTIONED:
            return f"the service did not answer for {duration(self._back[1])}, and is back"
        return None

    def _until_over(self, read: Callable[[], None]) -> None:
        """In a thread: repeat what ends because the service is away."""
        while not self._over.is_set():
            try:
                read()
            except Exception as error:  # noqa: BLE001 - whoever waits raises it; none once the client was closed
                if isinstance(error, UnavailableError) and error.code in _PASSES:
                    self._over.wait(_PAUSE)
                    continue
                self._failure = error
                self._news.set()
                return
            else:
                return

    def _listen(self) -> None:
        for event in self._client.studies.events(self._study.id, after=self._heard):
            with self._lock:
                self._hear(event)
            self._news.set()
            if self._over.is_set():
                return

    def _hear(self, event: Event) -> None:
        self._heard = event.id
        if self._course is None:
            self._early.append(event)
        else:
            self._course.hear(event)
        if event.kind == "trial":
            trial = Trial.model_validate(event.data)
            self._began = self._began or trial.state == "RUNNING"
            self._note(trial)

    def _note(self, trial: Trial) -> None:
        self._recent.pop(trial.number, None)
        self._recent[trial.number] = trial
        for number in list(self._recent)[:-_RECENT]:
            del self._recent[number]

    def _ask(self) -> None:
        """Until the study rests, and once more then."""
        self._begin()
        looked = float("-inf")
        while not self._over.is_set():
            study = self._answer(lambda: self._client.studies.get(self._study.id))
            dear = time.monotonic() - looked >= _LOOK_AGAIN
            rests = study.state in RESTING_STATES
            if rests:
                self._begin(settled=True)
            self._look_for_the_best(study, anyway=rests or dear)
            if (dear or self._began) and not rests:
                self._look_for_workers(study)
            looked = time.monotonic() if dear else looked
            with self._lock:
                self._study = study
                self._workers = () if study.state in FINAL_STATES else self._workers
            self._complete = rests
            self._news.set()
            if rests:
                return
            self._over.wait(_ASK_EVERY)

    def _begin(self, *, settled: bool = False) -> None:
        """What was before the events; where nothing moves any more, what they may not have told yet."""
        study, studies = self._study, self._client.studies
        history = self._answer(lambda: studies.history(study.id, points=_POINTS))
        listed = self._answer(
            lambda: list(itertools.islice(studies.trials(study.id, order="desc", page_size=_RECENT), _RECENT))
        )
        with self._lock:
            course = SearchCourse.of(study, history)
            for event in self._early:
                course.hear(event)
            if self._course is None or course.heard >= self._course.heard:
                self._course = course
            self._early = []
            told, known = dict(self._recent), {trial.number: trial for trial in reversed(listed)}
            for number, trial in known.items():
                if number not in told:
                    self._note(trial)
            for number, trial in told.items():  # by an event, which is newer than the list unless nothing moves
                self._note(known.get(number, trial) if settled else trial)

    def _look_for_the_best(self, study: Study, *, anyway: bool) -> None:
        """Only where it may be another one: what it tells of every layer is much."""
        if len(study.request.objectives) > 1:
            ended = study.progress.complete
            if anyway and (ended != self._trials_ended or study.state in RESTING_STATES):
                front = self._answer(lambda: self._client.studies.pareto(study.id))
                with self._lock:
                    self._front, self._trials_ended = front, ended
            return
        known = None if self._best is None else (self._best.trial, self._best.value, self._best.state)
        if study.best_trial is None or known == (study.best_trial, study.best_value, study.state):
            return
        try:
            best = self._answer(lambda: self._client.studies.best(study.id))
        except NotFoundError as error:
            if error.code != "best_not_found":
                raise
            return
        with self._lock:
            self._best = best

    def _look_for_workers(self, study: Study) -> None:
        """Those on this study; nobody, where the caller may not know."""
        self._began = False
        try:
            workers = self._answer(lambda: list(self._client.workers.list()))
        except AccessError:
            workers = []
        with self._lock:
            self._workers = tuple(worker for worker in workers if worker.study == study.id)

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        """What the service answers, with a note of how long it takes."""
        self._asked_since = time.monotonic()
        try:
            answered = ask()
        except UnavailableError:
            self._away_since = self._away_since or self._asked_since
            raise
        finally:
            since, self._asked_since = self._asked_since, None
        away = time.monotonic() - (self._away_since or since)
        self._away_since = None
        if away > _SILENCE:
            self._back = (time.monotonic(), away)
        return answered
