"""Where workers claim, renew, hand back and complete; and who the workers are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response

from ranksearch.contracts.base import Page
from ranksearch.contracts.finetuning import ProgressRequest
from ranksearch.contracts.jobs import (
    DRAIN_HEADER,
    ClaimRequest,
    CompleteRequest,
    FailRequest,
    Job,
    Lease,
    LeaseRequest,
)
from ranksearch.contracts.loglines import note
from ranksearch.contracts.resources import Worker
from service.access.principal import Principal
from service.access.verification import Verifier
from service.api.access import Administrator, ReaderOrAgent, WorkingAgent
from service.api.dependencies import TheBackend, TheJobThreads, TheVerifier, TheWaitingRoom
from service.api.problems import PROBLEMS
from service.scheduling import answers, fleet, leases, outcomes
from service.scheduling.backend import Backend
from service.scheduling.claims import Claimed, claim
from service.scheduling.finetune_progress import take_progress
from service.scheduling.waiting_room import Call, WaitingRoom

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["workers"], responses=PROBLEMS)


@router.post("/jobs/claim", response_model=Job, responses={204: {"description": "no job for now"}})
async def claim_job(
    request: Request,
    response: Response,
    backend: TheBackend,
    verifier: TheVerifier,
    room: TheWaitingRoom,
    threads: TheJobThreads,
    caller: WorkingAgent,
    wanted: ClaimRequest,
) -> Job | Response:
    """Lease the next job; waits up to ``wait_seconds`` for one. ``Server-Timing`` tells how long sampling took.

    A worker that is draining is answered 204 at once, with the header ``Ranksearch-Drain: 1``.
    """
    fleet.admit(wanted)
    look = partial(threads.run, _look, backend, verifier, caller, wanted)
    claimed = await _wait_for_job(request, backend, room, look, wanted)
    if claimed == "draining":
        return Response(status_code=204, headers={DRAIN_HEADER: "1"})
    if claimed is None:
        return Response(status_code=204)
    response.headers["Server-Timing"] = f"sampling;dur={1e3 * claimed.sampling_seconds:.2f}"
    return claimed.job


@router.post("/jobs/{job}/renew")
async def renew_lease(
    backend: TheBackend, threads: TheJobThreads, _caller: WorkingAgent, job: str, lease: LeaseRequest
) -> Lease:
    """Make a lease last longer. 409 ``lease_lost``: drop the work."""
    note(job=job)
    return await threads.run(leases.renew, backend, job, lease.lease_token)


@router.post("/jobs/{job}/progress", status_code=204)
async def report_progress(
    backend: TheBackend, threads: TheJobThreads, _caller: WorkingAgent, job: str, told: ProgressRequest
) -> None:
    """Say how far a fine-tuning is, and where it can be taken up again. 409 ``lease_lost``: drop the work."""
    note(job=job)
    await threads.run(take_progress, backend, job, told)


@router.post("/jobs/{job}/release", status_code=204)
async def release_job(
    backend: TheBackend, threads: TheJobThreads, _caller: WorkingAgent, job: str, lease: LeaseRequest
) -> None:
    """Hand a job back undone, without an attempt being counted."""
    note(job=job)
    await threads.run(leases.release, backend, job, lease.lease_token)


@router.post("/jobs/{job}/complete", status_code=204)
async def complete_job(
    backend: TheBackend, threads: TheJobThreads, _caller: WorkingAgent, job: str, done: CompleteRequest
) -> None:
    """Hand in a result. The same call again answers the same."""
    note(job=job)
    await threads.run(outcomes.complete, backend, job, done)


@router.post("/jobs/{job}/fail", status_code=204)
async def fail_job(
    backend: TheBackend, threads: TheJobThreads, _caller: WorkingAgent, job: str, failed: FailRequest
) -> None:
    """Say that there is no result. The same call again answers the same."""
    note(job=job)
    await threads.run(outcomes.fail, backend, job, failed)


@router.delete("/workers/{worker}", status_code=204)
def leave(backend: TheBackend, _caller: WorkingAgent, worker: str) -> None:
    """A worker says goodbye: what it holds is handed back, its waiting claim ends. Repeated, it does nothing."""
    fleet.leave(backend, worker)


@router.post("/workers/{worker}/drain", status_code=204)
def drain_worker(backend: TheBackend, caller: Administrator, worker: str) -> None:
    """Have a worker finish what it does and take no more jobs. Repeated, it does nothing."""
    fleet.drain(backend, caller, worker)


@router.post("/workers/{worker}/undrain", status_code=204)
def undrain_worker(backend: TheBackend, caller: Administrator, worker: str) -> None:
    """Let a drained worker take jobs again. Repeated, it does nothing."""
    fleet.undrain(backend, caller, worker)


@router.get("/workers")
def list_workers(backend: TheBackend, caller: ReaderOrAgent) -> Page[Worker]:
    """The workers, the most recently seen first."""
    return answers.workers(backend, caller)


async def _wait_for_job(
    request: Request,
    backend: Backend,
    room: WaitingRoom,
    look: Callable[[], Awaitable[Claimed | fleet.Standing]],
    wanted: ClaimRequest,
) -> Claimed | Literal["draining"] | None:
    """The job; None after the time, or where nobody wants it any more.

    Raises:
        AccessError: the caller's token opens nothing any more.
    """
    deadline = time.monotonic() + wanted.wait_seconds

    async def is_wanted() -> bool:
        return not await request.is_disconnected()

    with backend.metrics.waiting_claims.track_inprogress(), room.entered(wanted) as place:
        call: Call | None = "look"
        while call == "look":
            # From here to the answer nothing is interrupted: a lease that nobody hears of only expires.
            found = await asyncio.shield(look())
            if isinstance(found, Claimed):
                room.found(place)
                return found
            call = found if found != "working" else await place.rest(deadline, is_wanted)
        return "draining" if call == "draining" else None


def _look(backend: Backend, verifier: Verifier, caller: Principal, wanted: ClaimRequest) -> Claimed | fleet.Standing:
    """Note that the worker is there and take the next job; without one, what keeps the worker from having one.

    Raises:
        AccessError: the caller's token opens nothing any more; it may have waited for long.
    """
    verifier.check(caller)
    fleet.saw_worker(backend, wanted)
    claimed = claim(backend, wanted)
    return fleet.standing_of(backend, wanted.worker) if claimed is None else claimed
