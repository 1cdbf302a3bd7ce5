"""What a service is started with. One frozen value, made once, handed down."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Settings"]

MIB = 1 << 20


class Settings(BaseModel):
    """Everything that may differ between two services.

    ``database_url`` defaults to an SQLite file in the data directory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    token: str = Field(min_length=16, repr=False)
    database_url: str | None = None
    lease_seconds: float = Field(default=60, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    sweep_seconds: float = Field(default=2, gt=0)
    worker_away_seconds: float = Field(default=60, gt=0)
    worker_forget_seconds: float = Field(
        default=7 * 86_400, gt=0, description="after which a worker that is away leaves the list"
    )
    max_upload_bytes: int = Field(default=16 * 1024 * MIB, gt=0)
    max_json_bytes: int = Field(default=32 * MIB, gt=0)
    keep_alive_seconds: float = Field(default=15, gt=0)
    poll_seconds: float = Field(
        default=1, gt=0, description="how often a waiting claim or event stream looks again without being woken"
    )

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'ranksearch.db'}"

    @property
    def blobs_dir(self) -> Path:
        """Where the directory blob store lives."""
        return self.data_dir / "blobs"
