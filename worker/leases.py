"""Keeps a job's lease alive while the job is done."""

from __future__ import annotations

import contextvars
import logging
import threading
from types import TracebackType
from typing import Protocol, Self

from ranksearch.contracts.errors import ConflictError, NotFoundError, RankSearchError
from ranksearch.contracts.jobs import Job, Lease

__all__ = ["LeaseKeeper", "Renews"]

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 3


class Renews(Protocol):
    """The one call this module needs of a client."""

    def renew(self, job: str, lease_token: str, *, patience: float | None = None) -> Lease:
        """Extend the lease.

        Raises:
            ConflictError: somebody else has the job, or nobody wants it any more.
        """


class LeaseKeeper:
    """Renews in a thread of its own, three times a lease, from entering to leaving the context.

    A service that cannot be reached is no reason to give up: the result may still be handed in later, and the token
    decides then. Only the service's own word ends the lease.
    """

    def __init__(self, jobs: Renews, job: Job) -> None:
        self._jobs = jobs
        self._job = job
        self._interval = job.lease.seconds / _RENEWALS_PER_LEASE
        self._done = threading.Event()
        self._lost = threading.Event()
        self._draining = False
        within = contextvars.copy_context()  # what is logged of this job has its fields
        self._thread = threading.Thread(target=within.run, args=(self._keep,), name=f"lease-{job.id}", daemon=True)

    @property
    def lost(self) -> bool:
        """The service gave the job to somebody else, or cancelled it."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=1.0)  # it may hang in a request to a service that is away; it is a daemon

    def _keep(self) -> None:
        while not self._done.wait(self._interval):
            try:
                lease = self._jobs.renew(self._job.id, self._job.lease.token, patience=0)
            except (ConflictError, NotFoundError) as error:
                log.warning("job %s is no longer ours: %s", self._job.id, error.detail)
                self._lost.set()
                return
            except RankSearchError as error:
                log.warning("could not renew the lease of job %s, trying on: %s", self._job.id, error.detail)
            else:
                self._interval = lease.seconds / _RENEWALS_PER_LEASE
                if lease.draining and not self._draining:
                    log.info("this worker is draining: job %s is its last one", self._job.id)
                self._draining = lease.draining
