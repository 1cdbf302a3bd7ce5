"""When no service was there: workers could not renew then, which is not to be held against them.

Every replica's sweep notes the time. One that starts and finds that nobody noted it for a while knows that there was no
service in between: leases that ran out since then, or are about to, last one more period from now. With another
replica at work the note is fresh and nothing is forgiven; of several that start at once only the first one forgives,
because the note is locked meanwhile. An outage shorter than two sweeps costs no renewal, since workers renew three
times a lease.
"""

from __future__ import annotations

import logging

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.scheduling.backend import Backend, now
from service.storage.races import again_when_raced
from service.storage.tables import HeartbeatRow, JobRow

__all__ = ["forgive_outage", "note_presence"]

log = logging.getLogger(__name__)

_SWEEP = "sweep"


def note_presence(backend: Backend) -> None:
    """A service is there now."""
    with backend.writing() as session:
        _note(session, now(session))


@again_when_raced
def forgive_outage(backend: Backend) -> int:
    """At the start: give leases that could not be renewed one more period. Returns how many there were."""
    settings = backend.settings
    with backend.writing() as session:
        at = now(session)
        last = _note(session, at)
        if at - last <= 2 * settings.sweep_seconds:
            return 0
        until = at + settings.lease_seconds
        unrenewed = (JobRow.state == "leased", JobRow.lease_expires_at >= last, JobRow.lease_expires_at < until)
        ids = session.scalars(select(JobRow.id).where(*unrenewed).with_for_update(skip_locked=True)).all()
        session.execute(update(JobRow).where(JobRow.id.in_(ids)).values(lease_expires_at=until))
    if ids:
        log.info("no service for %.0f seconds: %d leases last longer", at - last, len(ids))
    return len(ids)


def _note(session: Session, at: float) -> float:
    """Note the time; when it was noted before."""
    row = session.scalars(select(HeartbeatRow).where(HeartbeatRow.name == _SWEEP).with_for_update()).first()
    if row is None:
        session.add(HeartbeatRow(name=_SWEEP, at=at))
        return 0.0
    last, row.at = row.at, at
    return last
