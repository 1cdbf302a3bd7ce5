"""Blobs on their way out, with ranges and entity tags."""

from __future__ import annotations

import re

from fastapi import Request
from starlette.responses import FileResponse, Response

from ranksearch.contracts.errors import InputError
from service.scheduling.backend import Backend

__all__ = ["blob_response"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)(,.*)?")


def blob_response(request: Request, backend: Backend, sha256: str, filename: str | None = None) -> Response:
    """The blob, a range of it, or 304 where the asker has it already.

    Raises:
        NotFoundError: no such blob.
        InputError: ``range_not_satisfiable``.
    """
    path = backend.blobs.path(sha256)
    tag = f'"{sha256}"'
    headers = {"etag": tag, "cache-control": "private, max-age=31536000, immutable"}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    stat = path.stat()
    _check_range(request, stat.st_size)
    return FileResponse(
        path, headers=headers, media_type="application/octet-stream", filename=filename, stat_result=stat
    )


def _check_range(request: Request, size: int) -> None:
    """Refuse a range that starts beyond the end; drop a header that is none, as RFC 9110 asks for."""
    stated = request.headers.get("range")
    if stated is None:
        return
    match = _RANGE.fullmatch(stated.replace(" ", ""))
    first, last = (match[1], match[2]) if match else ("", "")
    if match is None or not (first or last) or (first and last and int(last) < int(first)):
        request.scope["headers"] = [(n, v) for n, v in request.scope["headers"] if n != b"range"]
        return
    if (first and int(first) >= size) or (not first and int(last) == 0):
        raise InputError(
            "range_not_satisfiable", "the range lies beyond the end", got=stated, expected=f"within {size} bytes"
        )
