"""Eight processes on one SQLite file: six that write and read as a service does, and two that look after its data."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.settings import Settings
from service.storage.engine import Database
from service.storage.tables import HeartbeatRow
from service.upkeep.backup import back_up
from service.upkeep.examination import examine
from tests.service.conftest import TOKEN
from tests.service.processes import in_processes

WRITERS = 6
TIMES = 80
TOTAL = "total"
BACKUPS = 6
EXAMINATIONS = 12


def counting(url: str, name: str) -> int:
    """Add one to a number of this process's own and to one of all, many times; how often both did not agree."""
    database, torn = Database(url), 0
    for _ in range(TIMES):
        with database.writing() as session:
            for row in (session.get_one(HeartbeatRow, name), session.get_one(HeartbeatRow, TOTAL)):
                row.at += 1  # of what was read: an update in between would be lost
        torn += not agree(database)
    database.close()
    return torn


def agree(database: Database) -> bool:
    with database.reading() as session:
        total = session.scalar(select(HeartbeatRow.at).where(HeartbeatRow.name == TOTAL))
        return total == session.scalar(select(func.sum(HeartbeatRow.at)).where(HeartbeatRow.name.startswith("writer")))


def backing_up(data_dir: Path) -> list[bool]:
    """Back up some times; for each back-up, whether its numbers agree."""
    agreed = []
    for number in range(BACKUPS):
        folder = data_dir.with_name(f"backup-{number}")
        back_up(Settings(data_dir=data_dir, token=TOKEN), folder)
        copy = Database(f"sqlite:///{folder / 'ranksearch.db'}")
        agreed.append(agree(copy))
        copy.close()
    return agreed


def examining(data_dir: Path) -> list[str]:
    """Examine some times; what was wrong."""
    checks = [check for _ in range(EXAMINATIONS) for check in examine(Settings(data_dir=data_dir, token=TOKEN)).checks]
    return [check.what for check in checks if check.status == "fail"]


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_eight_processes_never_find_the_database_locked_and_lose_nothing(database, database_url, data_dir):
    (data_dir / "blobs").mkdir()  # as a service has it
    names = [f"writer-{number}" for number in range(WRITERS)]
    with database.writing() as session:
        session.add_all(HeartbeatRow(name=name, at=0.0) for name in (*names, TOTAL))
    writing = [(counting, (database_url, name)) for name in names]
    looking = [(backing_up, (data_dir,)), (examining, (data_dir,))]
    *torn, backups, wrong = in_processes([*writing, *looking])
    assert torn == [0] * WRITERS
    assert backups == [True] * BACKUPS
    assert wrong == []
    with database.reading() as session:
        stored = {row.name: row.at for row in session.scalars(select(HeartbeatRow))}
    assert {name: stored[name] for name in names} == dict.fromkeys(names, TIMES)
    assert stored[TOTAL] == WRITERS * TIMES
