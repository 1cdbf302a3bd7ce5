"""Blobs on their way out, with ranges and entity tags."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from ranksearch.contracts.errors import RankSearchError
from service.api.ranges import asked_range
from service.scheduling.backend import Backend

__all__ = ["BLOB_ANSWERS", "blob_response"]

log = logging.getLogger(__name__)

_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
BLOB_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "the bytes", "content": _BYTES},
    206: {"description": "the part of them that `Range` asks for", "content": _BYTES},
    304: {"description": "the asker has them already: `If-None-Match`"},
}
"""For the OpenAPI description of the routes that answer with a blob."""


def blob_response(request: Request, backend: Backend, sha256: str, filename: str | None = None) -> Response:
    """The blob, a range of it, or 304 where the asker has it already.

    Raises:
        NotFoundError: no such blob.
        InputError: ``range_not_satisfiable``.
    """
    size = backend.blobs.size(sha256)
    tag = f'"{sha256}"'
    headers = {
        "etag": tag,
        "cache-control": "private, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "content-type": "application/octet-stream",
    }
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if filename is not None:
        headers["content-disposition"] = f'attachment; filename="{filename}"'
    stated = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    part = asked_range(stated, size)
    start, stop = part or (0, size)
    headers["content-length"] = str(stop - start)
    if part is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return _Pieces(backend.blobs.read(sha256, start, stop), status_code=200 if part is None else 206, headers=headers)


class _Pieces(StreamingResponse):
    """A body of known length that is read piece by piece in threads, until the asker is gone.

    Where reading fails on the way, the connection is cut: the answer has begun, and its length tells the reader that
    something is missing.
    """

    async def stream_response(self, send: Send) -> None:
        """See Starlette."""
        try:
            await super().stream_response(send)
        except (RankSearchError, OSError) as problem:
            log.warning("a download was cut off: %s", " ".join(str(problem).split()))
