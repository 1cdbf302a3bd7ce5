"""How much a project stores, and how much more it may: its models, data sets and artifacts, each blob counted once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CompoundSelect, func, select, union
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import UnavailableError
from service.storage.tables import BlobRow, DatasetRow, JobRow, ModelRow, ProjectRow, StudyRow

__all__ = ["check_room", "quota_exceeded", "room_left", "used_bytes"]


def used_bytes(session: Session, project: str, besides: str = "") -> int:
    """What a project stores, in bytes.

    Args:
        session: to read with.
        project: id.
        besides: a sha256 that does not count.
    """
    total = select(func.sum(BlobRow.size)).where(BlobRow.sha256.in_(_blobs_of(project)), BlobRow.sha256 != besides)
    return int(session.scalar(total) or 0)


def room_left(session: Session, project: str, announced: Sequence[str] = ()) -> int | None:
    """How many bytes an upload may have; None: no quota bounds it.

    Args:
        session: to read with.
        project: id.
        announced: sha256 that the upload is said to have: what the project has already takes no room.
    """
    limit = session.get_one(ProjectRow, project).max_bytes
    if limit is None:
        return None
    blobs = _blobs_of(project).subquery()
    if announced and session.scalar(select(blobs.c.sha256).where(blobs.c.sha256.in_(announced)).limit(1)):
        return None
    return max(0, limit - used_bytes(session, project))


def check_room(session: Session, project: str, sha256: str, size: int) -> None:
    """That a blob fits into what a project may store; until the transaction ends nobody else takes the room.

    Raises:
        UnavailableError: ``quota_exceeded``.
    """
    if session.get_one(ProjectRow, project).max_bytes is None:
        return
    row = session.get_one(ProjectRow, project, with_for_update={"key_share": True}, populate_existing=True)
    room = None if row.max_bytes is None else max(0, row.max_bytes - used_bytes(session, project, besides=sha256))
    if room is not None and size > room:
        raise quota_exceeded(f"{size} bytes", room)


def quota_exceeded(got: str, room: int) -> UnavailableError:
    """The error for what does not fit."""
    return UnavailableError(
        "quota_exceeded",
        "this is more than the project may store",
        got=got,
        expected=f"at most {room} bytes more",
        mend="delete models, data sets or studies that nobody needs, or have an administrator raise the project's"
        " max_bytes",
    )


def _blobs_of(project: str) -> CompoundSelect[Any]:
    artifacts = select(JobRow.artifact).join(StudyRow, StudyRow.id == JobRow.study_id)
    return union(
        select(ModelRow.sha256.label("sha256")).where(ModelRow.project_id == project),
        select(ModelRow.document).where(ModelRow.project_id == project, ModelRow.document.is_not(None)),
        select(DatasetRow.sha256).where(DatasetRow.project_id == project),
        artifacts.where(StudyRow.project_id == project, JobRow.artifact.is_not(None)),
    )
