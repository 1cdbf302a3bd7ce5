"""What has to be done now and then, whoever died or was away."""

from __future__ import annotations

import logging

from service.scheduling.attempts import wake_for_due_attempts
from service.scheduling.backend import Backend
from service.scheduling.fleet import drop_forgotten
from service.scheduling.leases import expire
from service.scheduling.lifecycle import stop_overdue
from service.scheduling.outages import note_presence

__all__ = ["sweep"]

log = logging.getLogger(__name__)


def sweep(backend: Backend) -> None:
    """That a service is there, expired leases, studies whose time is up, old workers."""
    note_presence(backend)
    expired, stopped, forgotten = expire(backend), stop_overdue(backend), drop_forgotten(backend)
    wake_for_due_attempts(backend)
    if expired or stopped or forgotten:
        log.info("sweep expired=%d stopped=%d workers_forgotten=%d", expired, stopped, forgotten)
