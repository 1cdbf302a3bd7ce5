"""Blobs as the API answers them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ranksearch.contracts.resources import Blob
from service.storage.tables import BlobRow

__all__ = ["blob_view"]


def blob_view(session: Session, sha256: str) -> Blob:
    """A blob that rows refer to."""
    return Blob(sha256=sha256, size=session.get_one(BlobRow, sha256).size)
