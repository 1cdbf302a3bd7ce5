"""Where the service is and with which token it lets us in: the only place that decides it.

In this order:

1. ``url`` and ``token`` as given (``--url`` and ``--token`` on the command line);
2. the environment: ``RANKSEARCH_URL``, ``RANKSEARCH_TOKEN``;
3. the local service's data directory, ``$RANKSEARCH_HOME`` or ``.ranksearch`` in the working directory, in which
   ``ranksearch up`` keeps ``service.json`` (its URL) and ``token``.

The local token goes to the local service only, whatever else is configured.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from ranksearch.contracts.errors import AccessError, InputError, UnavailableError

__all__ = ["HOME_VARIABLE", "TOKEN_VARIABLE", "URL_VARIABLE", "Address", "data_directory", "resolve"]

URL_VARIABLE: Final = "RANKSEARCH_URL"
TOKEN_VARIABLE: Final = "RANKSEARCH_TOKEN"  # noqa: S105 - the variable's name
HOME_VARIABLE: Final = "RANKSEARCH_HOME"

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Address:
    """A service and the token for it. ``local_directory``: its data directory where it is the local service."""

    url: str
    token: str | None = field(default=None, repr=False)
    local_directory: Path | None = None

    @property
    def on_this_machine(self) -> bool:
        """Whether requests stay on this machine, so that no proxy of the environment is asked."""
        return httpx.URL(self.url).host in _LOOPBACK

    @property
    def mend(self) -> str:
        """What to do when nothing answers there."""
        if self.local_directory is not None:
            return f"start the local service: ranksearch up --data-dir {self.local_directory}"
        return f"check the URL (--url, {URL_VARIABLE}) and that the service runs; a local one: ranksearch up"


def data_directory() -> Path:
    """The local mode's data directory; need not exist."""
    return Path(os.environ.get(HOME_VARIABLE) or ".ranksearch")


def resolve(url: str | None = None, token: str | None = None) -> Address:
    """The service to talk to.

    Raises:
        UnavailableError: nothing says where a service is.
        InputError: the URL is not one.
        AccessError: the token cannot be one.
    """
    directory = data_directory()
    local = _local_url(directory)
    wanted = url or os.environ.get(URL_VARIABLE) or local
    if wanted is None:
        raise UnavailableError(
            "service_unreachable",
            "no service is known here",
            got=f"neither --url nor {URL_VARIABLE}, and no local service in {directory}",
            expected="the URL of a service, or a directory in which one was started",
            mend="start one here with: ranksearch up",
        )
    wanted = _checked_url(wanted)
    is_local = local is not None and wanted == local.rstrip("/")
    local_token = _local_token(directory) if is_local else None
    chosen = (
        token or (local_token if url is None and is_local else None) or os.environ.get(TOKEN_VARIABLE) or local_token
    )
    return Address(wanted, _checked_token(chosen), directory if is_local else None)


def _local_url(directory: Path) -> str | None:
    try:
        return str(json.loads((directory / "service.json").read_text("utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _local_token(directory: Path) -> str | None:
    try:
        return (directory / "token").read_text("utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InputError(
            "invalid_request",
            "this is not the URL of a service",
            got=url,
            expected="an http or https URL such as http://127.0.0.1:8400",
        )
    return url.rstrip("/")


def _checked_token(token: str | None) -> str | None:
    token = token.strip() if token else None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise AccessError("token_invalid", "a token has printable ASCII characters only, and no spaces")
    return token or None
