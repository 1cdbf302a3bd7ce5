"""Bodies that stall or trickle are given up: a request must not hold memory, a file or a connection for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranksearch.contracts.errors import UploadError

__all__ = ["BodyPace"]


class BodyPace:
    """ASGI middleware.

    Args:
        app: what it protects.
        seconds: without a byte, until a body is given up.
        bytes_per_second: a body that is slower than this, on the whole, is given up as well.
    """

    def __init__(self, app: ASGIApp, seconds: float, bytes_per_second: float) -> None:
        self._app = app
        self._seconds = seconds
        self._rate = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        began, arrived, more = time.monotonic(), 0, True

        async def paced() -> Message:
            nonlocal arrived, more
            if not more:  # from here on it is the end of the connection that is waited for
                return await receive()
            slowest = began + self._seconds + arrived / self._rate
            try:
                async with asyncio.timeout(min(self._seconds, slowest - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                more = False  # whoever cleans up must not wait again
                raise self._too_slow(arrived) from None
            arrived += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        return paced

    def _too_slow(self, arrived: int) -> UploadError:
        return UploadError(
            "upload_stalled",
            "the body did not arrive in time",
            got=f"{arrived} bytes",
            expected=f"no pause of {self._seconds:g} s, and {self._rate:g} bytes a second on the whole",
            mend="send it again over a better connection",
        )
