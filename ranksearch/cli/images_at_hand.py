"""An npz file of images where a data set document is asked for: packed on the way, for as long as the command runs."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["as_document"]


@contextmanager
def as_document(data: str | None) -> Iterator[str | None]:
    """What names a data set document: an npz file's place is taken by a document of its images.

    Raises:
        DatasetError: the npz file cannot be read, or does not say how its images are normalised.
    """
    if data is None or not data.endswith(".npz") or not Path(data).is_file():
        yield data
        return
    # imported by name: it imports torch, which the other commands must not even by a detour
    importlib.import_module("ranksearch").pack_npz  # noqa: B018 - says what to install where torch is missing
    pack = importlib.import_module("ranksearch.documents.npz").pack_normalised_npz
    with tempfile.TemporaryDirectory(prefix="ranksearch-") as folder:
        yield str(pack(data, Path(folder) / f"{Path(data).stem}.safetensors"))
