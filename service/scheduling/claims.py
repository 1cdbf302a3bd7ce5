"""A worker asks for work: the next job is leased, planned and described to it."""

from __future__ import annotations

from dataclasses import dataclass

from ranksearch.contracts.jobs import ClaimRequest, Job
from ranksearch.contracts.loglines import note
from service.scheduling.backend import Backend
from service.scheduling.taking import take_next

__all__ = ["Claimed", "claim"]


@dataclass(frozen=True)
class Claimed:
    """A leased job, and how many seconds its ranks were sampled for."""

    job: Job
    sampling_seconds: float


def claim(backend: Backend, request: ClaimRequest) -> Claimed | None:
    """The next job, leased; None when there is none.

    A trial that cannot be planned counts as an attempt and goes back, so that it cannot block the queue for ever.
    """
    taken = take_next(backend, request)
    if taken is None:
        return None
    job = taken.job
    backend.metrics.claimed(taken.kind, taken.sampling_seconds)
    note(job=job.id, study=job.study, trial=job.trial, worker=request.worker)
    return Claimed(job, taken.sampling_seconds)
