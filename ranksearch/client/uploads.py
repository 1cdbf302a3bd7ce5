"""Files on their way to the service: hashed first, streamed from disk, announced by ``Content-Digest``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ranksearch.client.digests import content_digest, sha256_of
from ranksearch.client.progress import Meter
from ranksearch.contracts.errors import UploadError

__all__ = ["Parcel"]

_PIECE: Final = 1 << 18


@dataclass(frozen=True)
class Parcel:
    """A file as it was when it was hashed."""

    path: Path
    sha256: str
    size: int

    @classmethod
    def of(cls, path: str | Path) -> Parcel:
        """Hash a file.

        Raises:
            UploadError: it cannot be read.
        """
        path = Path(path)
        try:
            return cls(path, sha256_of(path), path.stat().st_size)
        except OSError as error:
            raise UploadError(
                "upload_incomplete",
                f"{path} cannot be read",
                got=error.strerror or str(error),
                expected="a readable file",
                mend="check the path; ranksearch.pack writes models, `ranksearch pack-data` data sets",
            ) from error

    @property
    def headers(self) -> dict[str, str]:
        """What announces it."""
        return {
            "Content-Digest": content_digest(self.sha256),
            "Content-Length": str(self.size),
            "Content-Type": "application/octet-stream",
        }

    def pieces(self, meter: Meter) -> Iterator[bytes]:
        """Its bytes, from the beginning."""
        done = 0
        meter(0, self.size)
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
                done += len(piece)
                meter(done, self.size)
