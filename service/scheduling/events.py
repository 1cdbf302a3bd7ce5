"""The events of a study: written in the transaction that changes what they tell, read by its watchers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from ranksearch.contracts.studies import Event, EventKind
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.artifact_kinds import HELD
from service.scheduling.artifact_views import artifact_view
from service.scheduling.backend import Backend, now, study_topic
from service.scheduling.finetune_views import finetune_view
from service.scheduling.latency_views import latency_view
from service.scheduling.views import TERMINAL, Tally, study_view, trial_view
from service.storage.clock import moment
from service.storage.tables import EventRow, FineTuneRow, JobRow, StudyRow

__all__ = [
    "artifact_event",
    "events_after",
    "finetune_event",
    "is_settled",
    "latency_event",
    "newest_event",
    "study_event",
    "trial_event",
]


def study_event(session: Session, study: StudyRow, kind: EventKind = "study", tally: Tally | None = None) -> None:
    """The study as it is now, which must be locked; its jobs are counted where the caller has not done so."""
    if tally is None:
        session.flush()
    _append(session, study, kind, study_view(session, study, tally=tally))


def trial_event(session: Session, study: StudyRow, job: JobRow, final: JobRow | None = None) -> None:
    """One of its trials as it is now, with its final where that was measured. The study must be locked."""
    measured = None if final is None or final.state != "done" else final.result
    _append(session, study, "trial", trial_view(job, measured))


def artifact_event(session: Session, study: StudyRow, job: JobRow) -> None:
    """One of its artifacts as it is now. The study must be locked."""
    session.flush()
    _append(session, study, "artifact", artifact_view(session, job))


def finetune_event(session: Session, study: StudyRow, job: JobRow) -> None:
    """One of its fine-tunings as it is now. The study must be locked."""
    session.flush()
    _append(session, study, "finetune", finetune_view(session, study, job, session.get_one(FineTuneRow, job.id)))


def latency_event(session: Session, study: StudyRow, job: JobRow) -> None:
    """One of its latency reports as it is now. The study must be locked."""
    session.flush()
    _append(session, study, "latency", latency_view(session, job))


def newest_event(backend: Backend, caller: Principal, study: str) -> int:
    """The number of the newest event of a study; 0 where there is none yet.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        return existing_study(session, caller, study).last_event


def events_after(
    backend: Backend, caller: Principal, study: str, after: int, limit: int = 200
) -> tuple[list[Event], bool]:
    """The events numbered above ``after``, and whether no more will come after those.

    Of a study that ended long ago only the last ones are left.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study)
        rows = session.scalars(
            select(EventRow)
            .where(EventRow.study_id == study, EventRow.number > after)
            .order_by(EventRow.number)
            .limit(limit)
        ).all()
        events = [
            Event(
                id=event.number,
                kind=event.kind,
                study=study,
                created_at=moment(event.created_at),
                data=event.data,
            )
            for event in rows
        ]
        return events, len(events) < limit and is_settled(session, row)


def is_settled(session: Session, study: StudyRow) -> bool:
    """Whether nothing about the study will change any more: it has ended, and what was asked for is made or failed."""
    open_jobs = select(JobRow.id).where(JobRow.study_id == study.id, JobRow.state.in_(("waiting", "leased", HELD)))
    return study.state in TERMINAL and session.scalars(open_jobs.limit(1)).first() is None


def _append(session: Session, study: StudyRow, kind: EventKind, told: BaseModel) -> None:
    number = 1 + max(study.last_event, Backend.last_told(session, study.id))
    set_committed_value(study, "last_event", number)  # it is written with the events, which is a statement less
    data: dict[str, Any] = told.model_dump(mode="json", by_alias=True)
    event = {"study_id": study.id, "number": number, "kind": kind, "data": data, "created_at": now(session)}
    Backend.tell_after(session, event)
    Backend.ring_after(session, study_topic(study.id))
