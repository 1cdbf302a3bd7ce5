"""What routes take from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from ranksearch.contracts.insights import TrialSort
from ranksearch.contracts.studies import TrialOrigin, TrialState
from service.access.verification import Verifier
from service.api.job_threads import JobThreads
from service.api.relay import Relay
from service.scheduling.backend import Backend
from service.scheduling.trial_lists import Order, TrialList
from service.scheduling.waiting_room import WaitingRoom

__all__ = ["Cursor", "Limit", "TheBackend", "TheRelay", "TheVerifier", "TheWaitingRoom", "TrialsWanted"]


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _job_threads(request: Request) -> JobThreads:
    threads: JobThreads = request.app.state.job_threads
    return threads


async def _verifier(request: Request) -> Verifier:
    verifier: Verifier = request.app.state.verifier
    return verifier


async def _relay(request: Request) -> Relay:
    relay: Relay = request.app.state.relay
    return relay


async def _waiting_room(request: Request) -> WaitingRoom:
    room: WaitingRoom = request.app.state.waiting_room
    return room


TheBackend = Annotated[Backend, Depends(_backend)]
TheJobThreads = Annotated[JobThreads, Depends(_job_threads)]
TheRelay = Annotated[Relay, Depends(_relay)]
TheVerifier = Annotated[Verifier, Depends(_verifier)]
TheWaitingRoom = Annotated[WaitingRoom, Depends(_waiting_room)]
Cursor = Annotated[str | None, Query(max_length=500, description="the `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many at most")]


async def _trials_wanted(
    state: Annotated[TrialState | None, Query(description="only those in it")] = None,
    origin: Annotated[TrialOrigin | None, Query(description="only those whose ranks came from there")] = None,
    sort: Annotated[TrialSort, Query(description="by what; those of which it is not known come last")] = "number",
    order: Annotated[Order, Query(description="the smallest or the largest first")] = "asc",
) -> TrialList:
    return TrialList(state, origin, sort, order)


TrialsWanted = Annotated[TrialList, Depends(_trials_wanted)]
"""Which of a study's trials, and in which order; of the API and of the pages."""
