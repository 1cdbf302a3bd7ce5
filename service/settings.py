"""What a service is started with. One frozen value, made once, handed down.

Each member can be given as an option of ``python -m service`` and as an environment variable; see
:mod:`service.command_line`, which makes both of what stands here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Settings"]

MIB = 1 << 20
_POSTGRESQL = "postgresql+psycopg"
_SCHEMES = {"sqlite": "sqlite", "postgres": _POSTGRESQL, "postgresql": _POSTGRESQL, _POSTGRESQL: _POSTGRESQL}
"""What a database's URL may begin with, and what SQLAlchemy takes it for."""


class Settings(BaseModel):
    """Everything that may differ between two services."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(description="database, blobs, token and service.json")
    token: str = Field(
        min_length=16,
        repr=False,
        description="of this service; default: the one in the data directory's file `token`, made at the first start",
    )
    database_url: str | None = Field(
        default=None, repr=False, description="SQLAlchemy URL; default: an SQLite file in the data directory"
    )
    blobs_url: str | None = Field(
        default=None,
        description="s3://BUCKET/PREFIX of an S3-compatible store; ?endpoint= and ?region= or AWS_ENDPOINT_URL and"
        " AWS_REGION say where it is, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open it; default: the data directory",
    )
    host: str = Field(default="127.0.0.1", description="to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="the same; 0: any free one; service.json says which")
    public_url: str | None = Field(
        default=None,
        description="where users and workers reach this service, as behind a proxy; told to those who need a worker;"
        " default: where it listens",
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1",
        description="reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses, or *",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least that is logged"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="key=value for people, or one JSON object a line"
    )
    metrics_open: bool = Field(default=False, description="/metrics needs no token")

    oidc_issuer: str | None = Field(
        default=None, description="URL of a provider of single sign-on (OpenID Connect); default: none"
    )
    oidc_client_id: str | None = Field(default=None, description="by which the provider knows this service")
    oidc_client_secret: str | None = Field(
        default=None, repr=False, description="which the provider and this service know"
    )
    oidc_redirect_url: str | None = Field(
        default=None, description="where the provider sends browsers back to: this service's /v1/oidc/callback"
    )
    oidc_auto_create: bool = Field(
        default=False, description="whoever the provider signs in becomes a user; default: only users with that subject"
    )
    oidc_project: str = Field(default="default", description="of the users who are made so")

    lease_seconds: float = Field(default=60, gt=0, description="how long a worker has a job without renewing its lease")
    max_attempts: int = Field(default=3, ge=1, description="of a job, until it fails")
    retry_base_seconds: float = Field(
        default=2, ge=0, description="until a job's second attempt; twice as long before each further one"
    )
    retry_cap_seconds: float = Field(default=300, gt=0, description="the longest wait between two attempts")
    max_crashes: int = Field(
        default=2, ge=1, description="of workers or evaluating processes with the same job, until it fails as poison"
    )
    max_failures_in_row: int = Field(default=5, ge=1, description="trials of a study, until it pauses itself")
    checkpoint_seconds: float = Field(
        default=60, ge=0, description="between two checkpoints of a fine-tuning, at least"
    )
    sweep_seconds: float = Field(
        default=2, gt=0, description="between sweeps: expired leases, studies whose time is up"
    )
    worker_away_seconds: float = Field(default=60, gt=0, description="without a word, until a worker counts as away")
    worker_forget_seconds: float = Field(
        default=7 * 86_400, gt=0, description="after which a worker that is away leaves the list"
    )
    poll_seconds: float = Field(
        default=5, gt=0, description="how often waiting claims and event streams are looked after without being woken"
    )
    keep_alive_seconds: float = Field(default=15, gt=0, description="between comments on a quiet event stream")

    max_upload_bytes: int = Field(default=16 * 1024 * MIB, gt=0, description="of one document")
    max_json_bytes: int = Field(default=32 * MIB, gt=0, description="of any other request's body")
    header_seconds: float = Field(default=20, gt=0, description="for the head of a request to arrive")
    body_seconds: float = Field(default=30, gt=0, description="without a byte of a body, until its request is ended")
    body_bytes_per_second: float = Field(
        default=1024, gt=0, description="a body that comes slower than this, on the whole, is ended as well"
    )
    max_connections: int | None = Field(
        default=None, ge=1, description="beyond so many connections 503 is answered; default: no bound"
    )
    collect_seconds: float = Field(default=300, gt=0, description="between two collections of what nobody needs")
    blob_grace_seconds: float = Field(
        default=86_400, ge=0, description="until bytes that nothing refers to are removed"
    )
    factor_days: float = Field(default=30, gt=0, description="until factors that no worker asks for are dropped")
    factor_bytes: int = Field(
        default=50 * 1024 * MIB, ge=0, description="of all factors; the least recently used are dropped"
    )
    event_days: float = Field(default=90, gt=0, description="until the events of a finished study are dropped")

    ready_seconds: float = Field(default=2, gt=0, description="within which database and blob store answer /readyz")
    grace_seconds: int = Field(default=5, ge=0, description="for open requests to end when the service stops")

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, url: str | None) -> str | None:
        """Name the driver that is installed where the URL leaves it open, as those of hosting platforms do."""
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        known = _SCHEMES.get(scheme)
        if known is None or not separator:
            raise ValueError(f"the database must be sqlite:///FILE or postgresql://USER@HOST/NAME, not {scheme}:…")
        if known == "sqlite" and rest in ("", "/", "/:memory:"):
            raise ValueError("the database must be a file, sqlite:///FILE: one in memory ends with its connection")
        return f"{known}://{rest}"

    @field_validator("public_url")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        """It is copied into a command as it stands."""
        if url is None or re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", url):
            return url and url.rstrip("/")
        raise ValueError("it must be a URL such as https://ranksearch.example.com")

    @field_validator("oidc_issuer", "oidc_redirect_url")
    @classmethod
    def _encrypted(cls, url: str | None) -> str | None:
        """Tokens and codes go over these: only on this machine without encryption."""
        if url is None or re.match(r"https://[^/]|http://(localhost|127\.0\.0\.1|\[::1\])([:/]|$)", url):
            return url
        raise ValueError(f"it must begin with https://, not {url.partition('://')[0]}://…")

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'ranksearch.db'}"

    @property
    def blobs_dir(self) -> Path:
        """Where the directory blob store lives."""
        return self.data_dir / "blobs"

    @property
    def spool_dir(self) -> Path:
        """Where bytes arrive that go to another store."""
        return self.blobs_dir / "incoming"
