"""What every use case works with: the stores, the record, the bell. Made once by the composition root."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, undefer

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.resources import Blob
from service.metrics import Metrics
from service.scheduling.bell import Bell
from service.scheduling.histories import Histories
from service.scheduling.last_words import say_last
from service.scheduling.remembered import Remembered
from service.scheduling.sightings import Sightings
from service.scheduling.trial_columns import ShownTrials
from service.search.derivation import space_of
from service.search.optuna_records import OptunaRecords
from service.search.plan import Past
from service.search.space import SearchSpace
from service.settings import Settings
from service.storage.blobs import BlobStore
from service.storage.clock import database_now
from service.storage.engine import Database
from service.storage.tables import ModelRow, StudyRow

__all__ = [
    "HOLD",
    "JOBS",
    "OPTUNA",
    "Backend",
    "locked_study",
    "model_topic",
    "now",
    "planning_of",
    "profile_of",
    "set_clock",
    "study_topic",
]

JOBS = "jobs"
"""The bell's topic for work that can be claimed."""
OPTUNA = "optuna"
"""And for trials that Optuna does not know yet as they are; who made it so tells it, so no other service hears it."""
HOLD: Final = {"read": True, "key_share": True}
"""For ``with_for_update``: until the transaction ends nobody can delete the row. Several may hold it at once."""
_RINGS = "rings"
_CLOCK = "clock"
_COUNTS = "counts"
_CHARGES = "charges"
_EVENTS = "events"
_SEEN_SECONDS = 5.0


class Backend:
    """The service's resources, and the transactions that use them.

    ``public_url`` is where users reach the service; where no setting says so, it is set once it listens.
    ``sightings`` are what this process wrote down of the workers, ``histories`` what it read of the studies that are
    searched, ``documents`` which bytes models and data sets are, by their ids, ``transfers`` what studies learn from
    earlier ones, ``judged`` their spaces, as they are and judged by the changes of the outputs, and ``shown`` the
    trials of those that somebody looks at.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        blobs: BlobStore,
        records: OptunaRecords,
        bell: Bell,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.database = database
        self.blobs = blobs
        self.records = records
        self.bell = bell
        self.metrics = metrics
        self.public_url = settings.public_url
        self.sightings = Sightings(_SEEN_SECONDS)
        self.histories = Histories()
        self.documents: Remembered[Blob] = Remembered(1024)
        self.transfers: Remembered[tuple[Past, ...]] = Remembered(32)
        self.judged: Remembered[tuple[SearchSpace, SearchSpace]] = Remembered(32)
        self.shown = ShownTrials()
        self._spaces: OrderedDict[tuple[str, tuple[str, ...], tuple[str, ...], bool], SearchSpace] = OrderedDict()
        self._lock = threading.Lock()
        self._tasks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        bell.follow(self._forget)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See :meth:`Database.reading`."""
        with self.database.reading() as session:
            yield session

    @contextmanager
    def looking(self) -> Iterator[Session]:
        """See :meth:`Database.looking`."""
        with self.database.looking() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """See :meth:`Database.writing`; what :meth:`ring_after` collected rings after the commit, in every process.

        Users are charged last of all: their rows are locked after every other, and for a moment only.
        """
        with self.database.writing() as session:
            yield session
            topics: set[str] = session.info.get(_RINGS, set())
            rings = self.bell.rings_elsewhere(topics - {OPTUNA})
            say_last(session, session.info.get(_EVENTS, ()), session.info.get(_CHARGES, {}), rings)
        for topic in topics:
            self.bell.ring(topic)
        for count in session.info.get(_COUNTS, ()):
            count(self.metrics)

    @staticmethod
    def ring_after(session: Session, topic: str) -> None:
        """Ring ``topic`` once the transaction is committed."""
        session.info.setdefault(_RINGS, set()).add(topic)

    @staticmethod
    def tell_after(session: Session, event: Mapping[str, Any]) -> None:
        """Insert an event, a row of :class:`EventRow`, at the end of the transaction; ascending in number."""
        session.info.setdefault(_EVENTS, []).append(event)

    @staticmethod
    def last_told(session: Session, study: str) -> int:
        """The number of the last event of a study that this transaction is going to insert; 0 where there is none."""
        events: Sequence[Mapping[str, Any]] = session.info.get(_EVENTS, ())
        return next((event["number"] for event in reversed(events) if event["study_id"] == study), 0)

    @staticmethod
    def charge_after(session: Session, user: str, seconds: float) -> None:
        """Charge a user for worker-seconds, at the end of the transaction."""
        session.info.setdefault(_CHARGES, defaultdict(float))[user] += seconds

    @staticmethod
    def count_after(session: Session, count: Callable[[Metrics], None]) -> None:
        """Count something once the transaction is committed."""
        session.info.setdefault(_COUNTS, []).append(count)

    @contextmanager
    def in_turn(self, task: str) -> Iterator[None]:
        """A block that one thread of this process is in at a time; ``task`` says for which work."""
        with self._lock:
            here = self._tasks[task]
        with here:
            yield

    @contextmanager
    def alone(self, task: str) -> Iterator[None]:
        """A block that one thread of all services is in at a time; ``task`` says for which work."""
        with self.in_turn(task), self.database.alone(task):
            yield

    def space(
        self,
        session: Session,
        model: str,
        methods: Sequence[Method],
        keep_dense: Sequence[str],
        *,
        latency: bool = False,
    ) -> SearchSpace:
        """The search space of an inspected model, kept from call to call; with latencies where asked for.

        Raises:
            InputError: see :func:`space_of`.
        """
        key = (model, tuple(methods), tuple(keep_dense), latency)
        with self._lock:
            if key in self._spaces:
                self._spaces.move_to_end(key)
                return self._spaces[key]
        space = space_of(profile_of(session, model), methods, keep_dense, latency=latency)
        with self._lock:
            self._spaces[key] = space
            while len(self._spaces) > 32:  # noqa: PLR2004 - a few megabytes at most
                self._spaces.popitem(last=False)
        return space

    def _forget(self, topic: str | None) -> None:
        """A model has another profile; with None, any model may."""
        with self._lock:
            for key in [key for key in self._spaces if topic is None or model_topic(key[0]) == topic]:
                del self._spaces[key]

    def forget_study(self, study: str) -> None:
        """The study is deleted."""
        self.transfers.forget(study)
        self.judged.forget(study)
        with self._lock:
            self._tasks.pop(planning_of(study), None)


def profile_of(session: Session, model: str) -> ModelProfile:
    """The profile of an inspected model."""
    row = session.scalars(select(ModelRow).where(ModelRow.id == model).options(undefer(ModelRow.profile))).one()
    return ModelProfile.model_validate(row.profile)


def now(session: Session) -> float:
    """The database's clock.

    It is asked once a session, which lives for a moment; from there on the steps are this process's own. A use case
    asks for the time again and again, and each question would be a round trip.
    """
    asked, at = session.info.get(_CLOCK, (0.0, None))
    if at is None:
        return set_clock(session, session.scalar(select(database_now())))
    return float(at + (time.monotonic() - asked))


def set_clock(session: Session, at: float | None) -> float:
    """For :func:`now`: a query of this session's, for other things as well, has just told the database's time."""
    read = float(at or 0.0)
    session.info[_CLOCK] = (time.monotonic(), read)
    return read


def locked_study(session: Session, study: str) -> StudyRow:
    """The study, locked until the transaction ends; always locked before any of its jobs.

    Raises:
        NotFoundError: it was deleted.
    """
    row = session.scalars(_LOCKED, {"study": study}).first()
    if row is None:
        raise NotFoundError("study_not_found", "there is no such study", got=study)
    return row


def model_topic(model: str) -> str:
    """The bell's topic for a model's profile."""
    return f"model:{model}"


def planning_of(study: str) -> str:
    """The task of :meth:`Backend.in_turn` in which a study's trials are planned, each after what the others chose."""
    return f"plan {study}"


def study_topic(study: str) -> str:
    """The bell's topic for a study's events."""
    return f"study:{study}"


# Asked for every trial: to put it together takes as long as to ask it.
_LOCKED = select(StudyRow).where(StudyRow.id == bindparam("study")).with_for_update()
