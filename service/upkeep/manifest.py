"""What a back-up holds. The last file that is written to it: without one, a folder is no back-up.

::

    manifest.json   this
    ranksearch.db   one consistent snapshot of the database
    blobs/          as in the data directory, every blob that the snapshot names
    token           the service's own, where it has one; readable by its owner only
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranksearch.contracts.base import Sha256, Timestamp
from ranksearch.contracts.errors import InputError
from ranksearch.contracts.refusals import reason

__all__ = ["DATABASE", "MANIFEST", "TOKEN", "Kept", "Manifest", "blob_file", "read_manifest", "unusable"]

MANIFEST, DATABASE, TOKEN = "manifest.json", "ranksearch.db", "token"


class Kept(BaseModel):
    """A file of a back-up."""

    model_config = ConfigDict(frozen=True)

    sha256: Sha256
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """``manifest.json``. ``revision`` is the schema's, ``version`` the program's that wrote it."""

    model_config = ConfigDict(frozen=True)

    format: Literal["ranksearch.backup/1"] = "ranksearch.backup/1"
    version: str
    revision: str
    created_at: Timestamp
    database: Kept
    blobs: list[Kept]
    studies: int

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return self.database.size + sum(blob.size for blob in self.blobs)


def blob_file(root: Path, sha256: str) -> Path:
    """Where a blob lies, in a back-up as in a data directory."""
    return root / "blobs" / "sha256" / sha256[:2] / sha256


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a back-up.

    Raises:
        InputError: there is none, or it is none that this program understands.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise unusable("this is no back-up", got=f"no {MANIFEST} in {folder}") from None
    except ValidationError as problem:
        raise unusable("the back-up's manifest cannot be read", got=reason(problem.errors()[0])) from None


def unusable(detail: str, *, got: object = None, mend: str | None = None) -> InputError:
    """The error of a back-up that cannot be restored."""
    return InputError("backup_unusable", detail, got=got, mend=mend or "use another back-up")
