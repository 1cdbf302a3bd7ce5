"""A study whose trials are written into the database as workers' results would have left them: thousands in seconds."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import numpy as np
from sqlalchemy import func, select, update

from service.scheduling.views import trial_view
from service.storage.engine import Database
from service.storage.tables import EventRow, JobRow, StudyRow

__all__ = ["PER_SECOND", "FilledStudy"]

PER_SECOND: Final = 50
RANKS: Final = 16


class FilledStudy:
    """A study whose trials are there, and a hand that makes more of them.

    Args:
        database: of the service, which runs meanwhile.
        study: id.
        trials: the most that there will be; the search closes in on the best until then.
        layers: of the model.
    """

    def __init__(self, database: Database, study: str, trials: int, layers: int) -> None:
        self._database, self._study, self._layers = database, study, layers
        self._rng = np.random.default_rng(0)
        self._worth = self._rng.uniform(0.2, 2, layers)
        self._centre = self._rng.integers(3, 12, layers)
        self._all = trials
        with database.reading() as session:
            jobs = select(JobRow.id).where(JobRow.study_id == study, JobRow.kind == "trial").order_by(JobRow.ordinal)
            self._jobs = list(session.scalars(jobs))
        self._made = 0

    def fill(self, to: int) -> None:
        """Make as many as are lacking of so many, besides those that workers have made; none may run."""
        with self._database.reading() as session:
            planned = select(func.count(JobRow.trial_number)).where(JobRow.study_id == self._study)
            self._made = session.scalar(planned.where(JobRow.kind == "trial")) or 0
        while self._made < to:
            self._write(min(500, to - self._made))

    def add(self, seconds: float, stopping: threading.Event) -> None:
        """Make more, so many a second, each with its event."""
        end, due = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end and not stopping.is_set() and self._made < len(self._jobs):
            self._write(1, tell=True)
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))

    @property
    def made(self) -> int:
        """Trials that are there."""
        return self._made

    def _write(self, count: int, *, tell: bool = False) -> None:
        with self._database.writing() as session:
            study = session.get_one(StudyRow, self._study)
            rows = [self._trial(number) for number in range(self._made, self._made + count)]
            session.execute(update(JobRow), rows)
            best = min((row for row in rows if row["state"] == "done"), key=lambda row: row["value"], default=None)
            if best is not None and (study.best_value is None or best["value"] < study.best_value):
                study.best_job, study.best_trial, study.best_value = best["id"], best["trial_number"], best["value"]
            study.state, study.started_at = "running", study.started_at or time.time()
            study.last_event += count
            if tell:
                session.flush()
                session.expire_all()
                told = trial_view(session.get_one(JobRow, rows[0]["id"])).model_dump(mode="json", by_alias=True)
                event = {"study_id": study.id, "number": study.last_event, "kind": "trial", "data": told}
                session.add(EventRow(**event, created_at=time.time()))
            self._made += count

    def _trial(self, number: int) -> dict[str, Any]:
        """As it stands in the database once a worker has handed in its result; the search closes in slowly."""
        width = 1 + 5 * np.exp(-3 * number / self._all)
        drawn = np.rint(self._centre + width * self._rng.standard_normal(self._layers))
        positions = np.clip(drawn, 0, RANKS).astype(int)
        left = 1 - positions / RANKS
        value = float(0.1 + (self._worth @ left**2) / self._layers + 0.01 * self._rng.standard_normal())
        state = self._rng.choice(["done", "pruned", "failed"], p=[0.7, 0.27, 0.03])
        macs = int(np.where(positions == RANKS, 37_748_736, (positions + 1) * 2_000_000).sum())
        cost = {"macs": macs, "params": macs // 1000}
        chosen = enumerate(positions.tolist())
        ranks = {f"layer{at}": {"method": "cp3", "rank": 10 * (p + 1)} for at, p in chosen if p < RANKS}
        seconds = {"decomposition": 0.2, "assembly": 0.1, "calibration": 0.7, "validation": 1.5, "total": 2.5}
        result = {"value": value, "kl": value, "accuracy": 0.9 - value / 10, "images": 1000, "cost": cost}
        batches = [round(value + 0.01 * at, 5) for at in range(16)]
        result |= {"seconds": seconds, "device": "NVIDIA H100", "batch_values": batches}
        problem = {"type": "urn:ranksearch:problem:evaluation_crashed", "title": "crashed", "status": 500}
        problem |= {"code": "evaluation_crashed", "detail": "the evaluating process was killed by signal 9"}
        failed, start = state == "failed", 1.7e9 + 2.5 * number
        return {
            "id": self._jobs[number],
            "state": str(state),
            "trial_number": number,
            "origin": ("uniform", "equal_error")[number] if number < 2 else "sampler",  # noqa: PLR2004 - as many starts
            "positions": positions.tolist(),
            "ranks": ranks,
            "planned_macs": cost["macs"],
            "planned_params": cost["params"],
            "attempts": 1,
            "worker": "gpu-box-1",
            "value": None if failed else value,
            "guide": None if failed else value,
            "result": None if failed else result,
            "problem": problem if failed else None,
            "told": True,
            "started_at": start,
            "finished_at": start + 2.5,
        }
