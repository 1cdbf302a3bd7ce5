"""What routes take from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from service.access.verification import Verifier
from service.api.relay import Relay
from service.scheduling.backend import Backend
from service.scheduling.waiting_room import WaitingRoom

__all__ = ["Cursor", "Limit", "TheBackend", "TheRelay", "TheVerifier", "TheWaitingRoom"]


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


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
TheRelay = Annotated[Relay, Depends(_relay)]
TheVerifier = Annotated[Verifier, Depends(_verifier)]
TheWaitingRoom = Annotated[WaitingRoom, Depends(_waiting_room)]
Cursor = Annotated[str | None, Query(max_length=500, description="the `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many at most")]
