"""Streams a request's body into the blob store, hashing it on the way, off the event loop.

Whatever goes wrong, nothing half-written remains.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ranksearch.contracts.base import Resource
from ranksearch.contracts.errors import RankSearchError, UploadError
from service.access.quota import quota_exceeded, room_left
from service.scheduling.backend import Backend
from service.storage.blobs import Incoming

__all__ = ["BODY", "drain", "or_here", "placed", "receive"]

Taken = TypeVar("Taken")

BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""For the OpenAPI description of the routes that take raw bytes."""

_BATCH = 1 << 20
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 20, 2.0
_DIGEST = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:$|,|;)")


def or_here(resource: type[Resource]) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description of a route that answers 200 where what is sent is here already."""
    return {200: {"model": resource, "description": "it is here already"}}


async def receive(
    request: Request,
    backend: Backend,
    take: Callable[[Incoming], Taken],
    sha256: str | None = None,
    *,
    project: str | None = None,
) -> Taken:
    """Receive a body and hand it to ``take``, in a thread, once it is complete and checked.

    Args:
        request: its ``Content-Digest`` (RFC 9530), where it has one, is verified.
        backend: whose blob store and whose limit.
        take: commits what has arrived, or raises.
        sha256: what the body must hash to, besides.
        project: whose quota bounds it, before and while it arrives; ``take`` has the last word. What the project has
            already is recognised by its announced digest.

    Raises:
        UploadError: it did not arrive as announced, or is too large.
        UnavailableError: the disk is full, or the project's quota.
    """
    try:
        expected = _expected_digests(request, sha256)
        announced = _announced(request, backend.settings.max_upload_bytes)
        room = None if project is None else await run_in_threadpool(_room, backend, project, expected)
        if room is not None and announced is not None and announced > room:
            raise quota_exceeded(f"{announced} bytes", room)
        incoming = await run_in_threadpool(backend.blobs.receive, announced)
        try:
            await _stream(request, incoming, backend.settings.max_upload_bytes, announced, room)
            _check_digests(incoming, expected)
            return await run_in_threadpool(take, incoming)
        finally:
            await asyncio.shield(run_in_threadpool(incoming.discard))
    except RankSearchError:
        await drain(request)
        raise


def placed(response: Response, location: str, *, created: bool) -> None:
    """Say where the upload is, and whether it was new."""
    response.headers["location"] = location
    if not created:
        response.status_code = 200


def _room(backend: Backend, project: str, expected: list[str]) -> int | None:
    with backend.reading() as session:
        return room_left(session, project, expected)


async def _stream(request: Request, incoming: Incoming, limit: int, announced: int | None, room: int | None) -> None:
    batch = bytearray()
    try:
        async for chunk in request.stream():
            batch += chunk
            if incoming.size + len(batch) > limit:
                raise _too_large(f"more than {limit} bytes", limit)
            if room is not None and incoming.size + len(batch) > room:
                raise quota_exceeded(f"more than {room} bytes", room)
            if len(batch) >= _BATCH:
                await run_in_threadpool(incoming.write, bytes(batch))
                batch.clear()
        await run_in_threadpool(incoming.write, bytes(batch))
    except ClientDisconnect:
        raise _incomplete(incoming.size + len(batch), announced) from None
    if announced is not None and incoming.size != announced:
        raise _incomplete(incoming.size, announced)


def _announced(request: Request, limit: int) -> int | None:
    stated = request.headers.get("content-length")
    if stated is None:
        return None
    if not stated.isascii() or not stated.isdigit():
        raise UploadError("upload_incomplete", "the header Content-Length is not a number", got=stated)
    if int(stated) > limit:
        raise _too_large(f"{stated} bytes", limit)
    return int(stated)


def _expected_digests(request: Request, sha256: str | None) -> list[str]:
    expected = [] if sha256 is None else [sha256]
    header = request.headers.get("content-digest")
    if header is None:
        return expected
    match = _DIGEST.search(header)
    digest = b""
    if match is not None:
        with suppress(binascii.Error):
            digest = base64.b64decode(match[1], validate=True)
    if len(digest) != 32:  # noqa: PLR2004 - bytes of a sha256
        raise UploadError(
            "upload_digest_invalid",
            "the header Content-Digest holds no sha-256",
            got=header,
            expected="sha-256=:<the digest, base64>:",
            mend="send the digest as RFC 9530 writes it, or leave the header out",
        )
    return [*expected, digest.hex()]


def _check_digests(incoming: Incoming, expected: list[str]) -> None:
    for digest in expected:
        if digest != incoming.sha256:
            raise UploadError(
                "upload_digest_mismatch",
                "the bytes that arrived are not the ones that were announced",
                got=incoming.sha256,
                expected=digest,
                mend="send the file again",
            )


def _too_large(got: str, limit: int) -> UploadError:
    return UploadError(
        "upload_too_large",
        "the upload is larger than this service takes",
        got=got,
        expected=f"at most {limit} bytes",
        mend="send a smaller file, or start the service with a larger --max-upload-bytes",
    )


def _incomplete(got: int, announced: int | None) -> UploadError:
    return UploadError(
        "upload_incomplete",
        "the upload was cut off",
        got=f"{got} bytes",
        expected=f"{announced} bytes" if announced is not None else "the whole body",
        mend="send the file again",
    )


async def drain(request: Request) -> None:
    """Read on for a moment, so that the sender is reading when the answer comes; then the connection is cut."""
    left = _DRAIN_BYTES
    with suppress(ClientDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    return
