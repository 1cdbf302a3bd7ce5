"""What one evaluating process may do: decided by the agent, enforced by the process on itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Policy"]


class Policy(BaseModel):
    """Goes to the child on its command line, so it holds no secrets. A path stands for all that lies beneath it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: int = Field(description="process id of the agent: the child ends with it, and must not reach it")
    home: Path = Field(description="the user's, which must stay shut")
    reads: list[Path] = Field(default=[], description="may be read, besides Python, its libraries and this package")
    writes: list[Path] = Field(default=[], description="may be read, written, made and removed")
    devices: list[Path] = Field(default=[], description="device files that may be read, written and controlled")
    driver: bool = Field(default=False, description="a GPU's driver runs in it: it names threads, and makes a socket")
    local_sockets: bool = Field(default=False, description="CUDA's multi-process service is reached through one")
    data_bytes: int | None = Field(default=None, description="private memory it may ask for; None: not limited so")
    file_bytes: int = Field(default=64 << 30, description="largest file it may write")
    open_files: int = Field(default=4096, description="files it may have open at once")
    witness: Path = Field(description="a file of the agent that the child must find itself unable to read")
