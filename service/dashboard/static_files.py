"""What pages consist of besides HTML: read and compressed once, and served under addresses that tell the content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from ranksearch.contracts.errors import NotFoundError
from service.dashboard.headers import SECURITY_HEADERS

__all__ = ["STATIC_PREFIX", "StaticFiles", "router"]

STATIC_PREFIX: Final = "/static/"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOLDER: Final = Path(__file__).parent / "static"
_FOREVER: Final = "public, max-age=31536000, immutable"
_LEAST_COMPRESSED: Final = 1000

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _File:
    media_type: str
    content: bytes
    compressed: bytes | None

    @classmethod
    def read(cls, path: Path) -> _File:
        content = path.read_bytes()
        small = len(content) < _LEAST_COMPRESSED
        return cls(_TYPES[path.suffix], content, None if small else gzip.compress(content, mtime=0))


class StaticFiles:
    """All of them, in memory: a name that is not among them is no path of a file system.

    Their common hash is part of every address, so that they can be kept for ever and modules can import one another
    by relative addresses.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES)
        self._files = {path.relative_to(folder).as_posix(): _File.read(path) for path in paths}
        total = hashlib.sha256()
        for name, file in self._files.items():
            total.update(f"{name}\0{len(file.content)}\0".encode() + file.content)
        self.version = total.hexdigest()[:16]

    def url(self, name: str) -> str:
        """The address of a file.

        Raises:
            KeyError: there is none of that name.
        """
        if name not in self._files:
            raise KeyError(name)
        return f"{STATIC_PREFIX}{self.version}/{name}"

    def answer(self, version: str, name: str, *, compressed: bool) -> Response:
        """A file. One of another version may come from another replica: it is answered, but not to be kept.

        Raises:
            NotFoundError: there is none of that name.
        """
        file = self._files.get(name)
        if file is None:
            raise NotFoundError("not_found", "there is no such file", got=name)
        headers = {**SECURITY_HEADERS, "cache-control": _FOREVER if version == self.version else "no-cache"}
        headers["vary"] = "accept-encoding"
        if compressed and file.compressed is not None:
            headers["content-encoding"] = "gzip"
            return Response(file.compressed, media_type=file.media_type, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)


@router.get(STATIC_PREFIX + "{version}/{name:path}")
async def static_file(request: Request, version: str, name: str) -> Response:
    """Styles, scripts and pictures; anybody may have them."""
    files: StaticFiles = request.app.state.pages.statics
    return files.answer(version, name, compressed="gzip" in request.headers.get("accept-encoding", ""))
