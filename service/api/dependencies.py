"""What routes take from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from service.access.verification import Verifier
from service.scheduling.backend import Backend

__all__ = ["Cursor", "Limit", "TheBackend", "TheVerifier"]


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _verifier(request: Request) -> Verifier:
    verifier: Verifier = request.app.state.verifier
    return verifier


TheBackend = Annotated[Backend, Depends(_backend)]
TheVerifier = Annotated[Verifier, Depends(_verifier)]
Cursor = Annotated[str | None, Query(max_length=500, description="the `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many at most")]
