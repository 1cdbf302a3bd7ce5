"""The jobs that make files, by the format of what they make and whether its network is fine-tuned.

Each is of one trial, and there is one of a kind for a trial: that is why the same file asked for twice is made once.
"""

from __future__ import annotations

from typing import Final, Literal

from ranksearch.contracts.artifacts import ArtifactFormat
from ranksearch.contracts.jobs import ExportFormat

__all__ = [
    "ARTIFACT_KINDS",
    "DOCUMENT",
    "EXPORT_FORMATS",
    "FINETUNE",
    "FORMAT_OF",
    "HELD",
    "IS_TUNED",
    "SOURCE_OF",
    "kind_of",
]

DOCUMENT: Final = "compress"
FINETUNE: Final = "finetune"
SOURCE_OF: Final[dict[str, Literal["compress", "finetune"]]] = {
    "pt2": DOCUMENT,
    "onnx": DOCUMENT,
    FINETUNE: DOCUMENT,
    "tuned_pt2": FINETUNE,
    "tuned_onnx": FINETUNE,
}
"""What is made from the model document that another job of the same trial makes."""
EXPORT_FORMATS: Final[dict[str, ExportFormat]] = {
    "pt2": "pt2",
    "onnx": "onnx",
    "tuned_pt2": "pt2",
    "tuned_onnx": "onnx",
}
FORMAT_OF: Final[dict[str, ArtifactFormat]] = {
    DOCUMENT: "document",
    "pt2": "pt2",
    "onnx": "onnx",
    FINETUNE: "document",
    "tuned_pt2": "pt2",
    "tuned_onnx": "onnx",
}
IS_TUNED: Final = frozenset({FINETUNE, "tuned_pt2", "tuned_onnx"})
ARTIFACT_KINDS: Final = tuple(FORMAT_OF)
HELD: Final = "held"
"""The state of a job whose source is not made yet: nobody can claim it."""


def kind_of(wanted: ArtifactFormat, *, tuned: bool) -> str:
    """The kind of the job that makes such a file."""
    return next(kind for kind, made in FORMAT_OF.items() if made == wanted and (kind in IS_TUNED) == tuned)
