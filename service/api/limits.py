"""Bounds the bodies that are read into memory. Uploads are streamed, and bounded in :mod:`.uploads`."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranksearch.contracts.errors import UploadError
from service.api.problems import problem_response
from service.api.uploads import drain

__all__ = ["BodyLimit"]


class BodyLimit:
    """ASGI middleware.

    Args:
        app: what it protects.
        limit: bytes; larger bodies are refused, by their announced length or once that much has come.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _is_upload(scope):
            await self._app(scope, receive, send)
            return
        request, read = Request(scope, receive), 0
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._limit:
            await drain(request)
            await problem_response(self._too_large(f"{announced} bytes"))(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise self._too_large(f"more than {self._limit} bytes")
            return message

        await self._app(scope, counted, send)

    def _too_large(self, got: str) -> UploadError:
        return UploadError(
            "upload_too_large",
            "the body is larger than this address takes",
            got=got,
            expected=f"at most {self._limit} bytes",
            mend="send files to /v1/models, /v1/datasets, /v1/blobs or /v1/factors; everything else is small",
        )


def _is_upload(scope: Scope) -> bool:
    path = scope["path"]
    return (scope["method"] == "POST" and path in {"/v1/models", "/v1/datasets"}) or (
        scope["method"] == "PUT" and path.startswith(("/v1/blobs/", "/v1/factors/"))
    )
