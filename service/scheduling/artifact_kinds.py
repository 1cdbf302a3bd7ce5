"""The jobs that make files, by the format of what they make.

Each is of one trial, and there is one of a kind for a trial: that is why the same file asked for twice is made once.
"""

from __future__ import annotations

from typing import Final

from ranksearch.contracts.artifacts import ArtifactFormat

__all__ = ["ARTIFACT_KINDS", "DOCUMENT", "EXPORT_KINDS", "FORMAT_OF", "HELD", "KIND_OF"]

DOCUMENT: Final = "compress"
KIND_OF: Final[dict[ArtifactFormat, str]] = {"document": DOCUMENT, "pt2": "pt2", "onnx": "onnx"}
FORMAT_OF: Final[dict[str, ArtifactFormat]] = {kind: made for made, kind in KIND_OF.items()}
ARTIFACT_KINDS: Final = tuple(FORMAT_OF)
EXPORT_KINDS: Final = tuple(kind for kind in ARTIFACT_KINDS if kind != DOCUMENT)
"""Those that start from the model document of their trial."""
HELD: Final = "held"
"""The state of an export whose document is not made yet: nobody can claim it."""
