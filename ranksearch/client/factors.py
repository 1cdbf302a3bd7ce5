from __future__ import annotations

from pathlib import Path

from ranksearch.client.downloads import download
from ranksearch.client.progress import silent
from ranksearch.client.transport import Transport, segment
from ranksearch.client.uploads import Parcel
from ranksearch.contracts.resources import Blob

__all__ = ["Factors"]


class Factors:
    """Factors of layers that some worker has computed: ``client.factors``. Users have no need of it.

    ``patience``: seconds to keep trying while the service is away or busy, instead of the client's own.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def download(self, key: str, path: str | Path, *, patience: float | None = None) -> Path:
        """Write the factors under a key to a file: verified, atomic, resumed after a cut.

        Args:
            key: 64 hexadecimal characters: a hash of all that determines the factors.
            path: of the file.
            patience: see the class.

        Raises:
            NotFoundError: ``factors_not_found``: nobody has computed them yet.
            UnavailableError: the service is away, or the bytes are others than announced.
        """
        target = Path(path)
        download(self._transport, _path(key), target, None, size=None, meter=silent, patience=patience)
        return target

    def upload(self, key: str, path: str | Path, *, patience: float | None = None) -> Blob:
        """Hand factors to the fleet; where the key has some already, those stay.

        Returns:
            What the service keeps under the key.

        Raises:
            UploadError: the file cannot be read, changed meanwhile, or is too large.
            UnavailableError: the service is away or full.
        """
        parcel = Parcel.of(path)
        response = self._transport.request(
            "PUT",
            _path(key),
            repeatable=True,
            body=lambda: parcel.pieces(silent),
            headers=parcel.headers,
            patience=patience,
        )
        return self._transport.parsed(Blob, response)


def _path(key: str) -> str:
    return f"/v1/factors/{segment(key)}"
