from __future__ import annotations

from pathlib import Path

from ranksearch.client.downloads import download
from ranksearch.client.progress import Progress, metered
from ranksearch.client.transport import Transport, segment
from ranksearch.client.uploads import Parcel

__all__ = ["Blobs"]


class Blobs:
    """Bytes addressed by their sha256: ``client.blobs``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def download(self, sha256: str, path: str | Path, *, size: int | None = None, progress: Progress = False) -> Path:
        """Write a blob to a file: verified, atomic, resumed after a cut.

        Raises:
            NotFoundError: the service has no such blob.
            UnavailableError: the service is away, or the bytes are others than announced.
        """
        target = Path(path)
        with metered(progress, target.name) as meter:
            download(self._transport, f"/v1/blobs/{segment(sha256)}", target, sha256, size=size, meter=meter)
        return target

    def upload(self, path: str | Path, *, progress: Progress = False) -> str:
        """Store a file; returns its sha256.

        Raises:
            UploadError: it cannot be read, changed meanwhile, or is too large.
        """
        parcel = Parcel.of(path)
        with metered(progress, parcel.path.name) as meter:
            self._transport.request(
                "PUT",
                f"/v1/blobs/{parcel.sha256}",
                repeatable=True,
                body=lambda: parcel.pieces(meter),
                headers=parcel.headers,
            )
        return parcel.sha256
