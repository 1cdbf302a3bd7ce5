"""Users, their studies and workers on a real database, with a clock that is moved instead of waited for."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.fairness import let_go
from service.scheduling.taking import take_next
from service.storage.tables import JobRow, StudyRow, UserRow
from tests.service.conftest import Running


def add_user(service: Running, name: str, **members: Any) -> str:
    with service.backend.writing() as session:
        session.add(UserRow(id=name, name=name, created_at=0.0, **members))
    return name


def submit_as(service: Running, user: str, **request: Any) -> str:
    """A study of this user's, whose baseline is measured."""
    study = service.submit(**request)["id"]
    with service.backend.writing() as session:
        session.execute(update(StudyRow).where(StudyRow.id == study).values(user_id=user))
        baseline = (JobRow.study_id == study, JobRow.kind == "baseline")
        session.execute(update(JobRow).where(*baseline).values(state="done"))
    return study


def worker(name: str = "w", **told: Any) -> ClaimRequest:
    return ClaimRequest(**{"worker": name, "name": name, "device": "cpu", "version": "0", **told})


def take(service: Running, asking: ClaimRequest | None = None) -> str | None:
    """The study of the job that a worker is given."""
    taken = take_next(service.backend, asking or worker())
    if taken is None:
        return None
    return taken.job.study


def usage(service: Running, user: str) -> float:
    with service.backend.reading() as session:
        return session.get_one(UserRow, user).usage_seconds


def pass_time(service: Running, seconds: float) -> None:
    """Every lease began that much earlier; it expires as late as ever."""
    with service.backend.writing() as session:
        leased = update(JobRow).where(JobRow.state == "leased")
        session.execute(leased.values(leased_at=JobRow.leased_at - seconds))


class Fleet:
    """Workers that take a job, are busy for ``seconds(user)``, and take the next one. Its time begins at 0."""

    def __init__(self, service: Running, workers: int, seconds: Callable[[str], float] = lambda _user: 10.0) -> None:
        self.service = service
        self.seconds = seconds
        self.now = 0.0
        self.served: dict[str, float] = defaultdict(float)
        self.started: list[str] = []
        self._idle = [f"w{number}" for number in range(workers)]
        self._busy: list[tuple[float, str, str, str]] = []

    def run(self, until: float) -> None:
        self._give_out()
        while self._busy and self._busy[0][0] <= until:
            ends, name, job, user = heapq.heappop(self._busy)
            self._advance(ends)
            with self.service.backend.writing() as session:
                row = session.get_one(JobRow, job)
                let_go(session, row)
                row.state = "done"
            self.served[user] += self.seconds(user)
            self._idle.append(name)
            self._give_out()
        self._advance(until)

    def _advance(self, to: float) -> None:
        pass_time(self.service, to - self.now)
        self.now = to

    def _give_out(self) -> None:
        while self._idle:
            taken = take_next(self.service.backend, worker(self._idle[-1]))
            if taken is None:
                return
            with self.service.backend.reading() as session:
                user = session.get_one(StudyRow, taken.job.study).user_id
            self.started.append(user)
            heapq.heappush(self._busy, (self.now + self.seconds(user), self._idle.pop(), taken.job.id, user))
