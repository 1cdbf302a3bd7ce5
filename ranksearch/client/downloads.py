"""Files on their way from the service: verified, atomic, and resumed where the connection was cut."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import IO, Final

import httpx

from ranksearch.client.progress import Meter
from ranksearch.client.retries import Attempts
from ranksearch.client.transport import Transport
from ranksearch.contracts.errors import UnavailableError

__all__ = ["download"]

_PARTIAL: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416


def download(
    transport: Transport,
    path: str,
    target: Path,
    sha256: str | None,
    *,
    size: int | None,
    meter: Meter,
    patience: float | None = None,
) -> None:
    """Put the bytes behind ``path`` at ``target``, or leave ``target`` as it was.

    They go to a temporary file beside the target; only when their sha256 is right does it take the target's place.

    Args:
        transport: the service.
        path: where it hands them out; must know ``Range`` for a cut to be resumed, not repeated.
        target: the file to write; a directory must not stand there.
        sha256: what the bytes must hash to; None: what the answer's ``ETag`` says.
        size: of the whole, where known: for the meter.
        meter: told of the bytes so far.
        patience: seconds to keep trying, instead of the client's own.

    Raises:
        UnavailableError: they cannot be had, or are others than announced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("xb+") as file:
            tag = _receive(transport, path, file, transport.attempts(patience), size=size, meter=meter)
            got, expected = _sha256(file), tag if sha256 is None else sha256
            if got != expected:
                raise UnavailableError(
                    "service_answer_invalid",
                    f"{path} is not what was announced",
                    got=f"sha256 {got}",
                    expected=f"sha256 {expected}",
                    mend="try again; if it stays so, the service's store is damaged",
                )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _receive(
    transport: Transport, path: str, file: IO[bytes], attempts: Attempts, *, size: int | None, meter: Meter
) -> str:
    """Fill the file, taking up where a cut connection left off. Returns the entity tag of what is in it."""
    tag = ""
    while True:
        done = file.tell()
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
        if done and tag:
            headers["If-Range"] = f'"{tag}"'  # another version is sent whole
        try:
            with transport.stream(path, headers=headers) as response:
                if response.status_code == _RANGE_NOT_SATISFIABLE and done:
                    return tag  # nothing is missing: the cut came after the last byte
                if not response.is_success:
                    transport.refuse_or_pause(response, attempts)
                    continue
                if done and not _continues(response, done):
                    file.seek(0)
                    file.truncate()
                tag = str(response.headers.get("ETag", "")).strip('"')
                _append(response, file, size=size, meter=meter)
                return tag
        except httpx.RequestError as error:
            if file.tell() > done:
                attempts.restart()
            attempts.pause(transport.failure(error))


def _continues(response: httpx.Response, done: int) -> bool:
    return response.status_code == _PARTIAL and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _append(response: httpx.Response, file: IO[bytes], *, size: int | None, meter: Meter) -> None:
    done = file.tell()
    announced = response.headers.get("Content-Length")
    total = size if size is not None else done + int(announced) if announced else 0
    meter(done, total)
    for piece in response.iter_bytes():
        file.write(piece)
        done += len(piece)
        meter(done, total)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
    file.seek(0, os.SEEK_END)
    return digest
